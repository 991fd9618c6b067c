"""How long a job will take: the one estimator behind the button's text and the GPU lease."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from core.events import Stage
from core.lyrics import LyricsRequest
from core.params import SongRequest
from core.recipes import Recipe
from core.resolve import rendering_of
from core.tables import CODES_PER_S
from networks.acestep.previews import NO_PREVIEWS, SHARE, Previews, affordable
from networks.machine import DeviceKind

THROUGHPUT_TFLOPS: dict[DeviceKind, float] = {"cpu": 0.05, "mps": 6.0, "cuda": 200.0}
"""What a middling machine of each kind does in practice; corrected by what this one was seen to do."""

OVERHEAD_S: dict[DeviceKind, float] = {"cpu": 0.5, "mps": 1.0, "cuda": 1.0}
"""Text encoding, planning and writing files."""

READ_GB_PER_S: dict[DeviceKind, float] = {"cpu": 10.0, "mps": 100.0, "cuda": 400.0}
"""How fast a language model's weights pass by, all of them for each token, on such a machine."""

THOUGHT_TOKENS = 150
"""Of a planner before its codes: the facts and a caption."""

DRAFT_TOKENS = 700
"""Of a planner that drafts a form: the facts, a caption, and lyrics."""

TOKENS_PER_LINE = 12
"""Of lyrics, the line break included."""

LEASE_S = (10, 300)
"""Shortest and longest lease that is asked for on a shared GPU, of which visitors have two minutes a day."""

LEASED_SHARE = 0.45
"""How much of a card is leased: Spaces counts in seconds of 60 of an H200's 132 multiprocessors, and asks for half as
much again where the card is a slower one."""

LOADED_GB_PER_S = 0.8
"""How fast weights come from a disk to a GPU: 11.5 GB of XL SFT took 13 s beside an H200."""

WORKING_GB = 1.3
WORKING_GB_PER_S = 0.001
"""Memory that a song's networks work in, beside their weights: at least, and for each second that is rendered.

Measured on CUDA with XL SFT and 2B turbo at 60 to 600 s (docs/fidelity.md), rounded up.
"""

PLANNING_GB = 1.1
"""Memory that a planner works in: the keys and values of 3,600 tokens in both rows of the 4B, by arithmetic.

Two of them in each of 36 layers, of 8 heads with 128 numbers, two bytes each.
"""

PLANNED_S = 60.0
"""Assumed length of a song whose planner will choose it."""

FALLBACK_SOURCE_S = 60.0
"""Assumed length of a source that has not been chosen or opened yet."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What work asks of a device: its arithmetic, and the gigabytes of weights that pass by for its tokens.

    `working_gb` is the memory that a song's networks work in.
    """

    tflop: float = 0.0
    read_gb: float = 0.0
    working_gb: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            tflop=self.tflop + other.tflop,
            read_gb=self.read_gb + other.read_gb,
            working_gb=max(self.working_gb, other.working_gb),
        )

    def arithmetic(self, device: DeviceKind) -> float:
        """The cost in TFLOP; reading counts as what such a device would compute meanwhile, so that one number tells."""
        return self.tflop + self.read_gb / READ_GB_PER_S[device] * THROUGHPUT_TFLOPS[device]

    def seconds(self, device: DeviceKind, seen: Sequence[tuple[float, float]] = ()) -> float:
        """The time it takes; `seen` are pairs (TFLOP, seconds taken) of jobs that were done on this machine."""
        return OVERHEAD_S[device] + self.arithmetic(device) * per_tflop(device, seen)


def per_tflop(device: DeviceKind, seen: Sequence[tuple[float, float]] = ()) -> float:
    """Seconds that a TFLOP takes; `seen` as in `Cost.seconds`."""
    rates = [(taken - OVERHEAD_S[device]) / work for work, taken in seen if work > 0 and taken > OVERHEAD_S[device]]
    return median(rates) if rates else 1.0 / THROUGHPUT_TFLOPS[device]


def evaluations(request: SongRequest, recipe: Recipe) -> float:
    """Forward passes of the DiT for one variation, counting only the guided steps twice."""
    rendering = rendering_of(request, recipe)
    guided = request.cfg_interval_end - request.cfg_interval_start if rendering.guided else 0.0
    passes = rendering.steps * rendering.solver.evaluations * (1.0 + guided)
    return passes if request.morph is None else 2 * request.morph.n_avg * passes


def rendered_s(request: SongRequest, source_s: float | None) -> float:
    """Seconds of audio that one variation has, as far as that is known before it is planned."""
    if not request.from_source:
        return request.music.duration_s or PLANNED_S
    added_s = request.layout.before_s + request.layout.after_s
    return added_s + (FALLBACK_SOURCE_S if source_s is None else source_s)


def song(request: SongRequest, recipe: Recipe, seconds: float) -> Cost:
    """Rendering a song of that length, all its variations."""
    tflop = sum(stages(request, recipe, seconds).values())
    working = working_gb(seconds, request.variations) + request.variations * recipe.cache_gb
    return drawing(request, recipe, seconds) + Cost(tflop=tflop, working_gb=working)


def drawing(request: SongRequest, recipe: Recipe, seconds: float) -> Cost:
    """Drawing the tokens of a song of that length, of which a source may stay: all variations share what passes by."""
    layout = request.layout
    new_s = layout.before_s + layout.after_s + layout.overlap_s if request.seam else seconds
    return tokens(round(recipe.tokens_hz * new_s), recipe.token_billions)


def stages(request: SongRequest, recipe: Recipe, seconds: float) -> dict[Stage, float]:
    """TFLOP of each stage of rendering: the DiT's passes, and the VAE there, where something is encoded, and back.

    Previews are decoded while the song is denoised.
    """
    parts = _stages(request, recipe, seconds)
    heard = previews(request, recipe, seconds)
    return {**parts, "denoising": parts["denoising"] + heard.count * heard.seconds * recipe.vae_tflop}


def _stages(request: SongRequest, recipe: Recipe, seconds: float) -> dict[Stage, float]:
    rendered = request.variations * seconds
    encodes = request.from_source or recipe.planner == "composer"
    return {
        "encoding": rendered * recipe.vae_tflop * encodes,
        "denoising": rendered * recipe.dit_tflop * evaluations(request, recipe),
        "decoding": rendered * recipe.vae_tflop,
    }


def previews(request: SongRequest, recipe: Recipe, seconds: float) -> Previews:
    """The previews of a song of that length: as many as cost no more than their share of the whole."""
    if not request.preview:
        return NO_PREVIEWS
    decoded_s = SHARE * sum(_stages(request, recipe, seconds).values()) / recipe.vae_tflop
    return affordable(decoded_s, seconds)


def working_gb(seconds: float, variations: int) -> float:
    """Memory in GB for rendering so many songs of that length at once, their weights not counted."""
    return WORKING_GB + WORKING_GB_PER_S * seconds * variations


def tokens(count: int, billions: float) -> Cost:
    """So many tokens by a language model of so many parameters, at two bytes each.

    Guidance costs next to nothing: both rows of its batch share the passing weights.
    """
    return Cost(read_gb=count * 2 * billions)


def planning(seconds: float, billions: float, plans: int = 1) -> Cost:
    """Planning a song of that length by a language model of so many parameters; 0 parameters stand for none."""
    return tokens(plans * (THOUGHT_TOKENS + round(CODES_PER_S * seconds)), billions)


def lyrics_tokens(request: LyricsRequest) -> int:
    """Tokens that the lyrics are likely to have: their lines and tags, as far as the limit lets them."""
    lines = sum(1 + count for _, count in request.lines_asked())
    return min(TOKENS_PER_LINE * lines, request.max_new_tokens)


def lease_s(seconds: float, weights_gb: float, stretch: float = 1.0) -> int:
    """The lease to ask for, within `LEASE_S`: time for the weights, and twice the estimate, which may be off.

    `seconds` are those of a whole card. The weights are counted whether or not a process holds them already: nobody
    can tell before the lease which process will serve it.
    """
    shortest, longest = LEASE_S
    needed = 2.0 * seconds / LEASED_SHARE + weights_gb / LOADED_GB_PER_S
    return round(min(max(needed, shortest) * stretch, longest))

"""Whether nano follows its requests: fixed ones, rendered by the studio's own pipeline, measured and written down.

`python -m training.evaluate --write` prints the table of docs/nano.md and puts it there. Every measure is also
taken against the wrong request (shuffled), which must score near chance: a measure that does not drop says nothing.
"""

from __future__ import annotations

import argparse
import logging
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import training.measures as measure
from checkpoints.table import recipe_of
from core.music import Music
from core.params import CoverRequest, EditRequest, GenerateRequest, SongRequest
from core.paths import DOCS, nano_folder
from core.plans import Known
from core.resolve import resolve
from core.tables import SAMPLE_RATE
from networks.acestep.job import Job, Recording, Take
from networks.acestep.open import open_runtime
from networks.acestep.runtime import Runtime
from pipeline import render
from planner.composer.instruments import Wave
from planner.composer.planner import ComposerPlanner
from planner.composer.score import Brief, Score, compose
from planner.composer.styles import styles
from training.captions import plain_caption
from training.style_classifier import StyleClassifier
from training.synthesis import KEYS, styled
from training.vae import unseen_clips

LOG = logging.getLogger("training")
REQUESTS = 30
REPORT = DOCS / "nano.md"
_MARKERS = ("<!-- measured: begin -->", "<!-- measured: end -->")
_LYRICS = "[Verse]\nWalking home alone tonight\nEvery window shows a light\n[Chorus]\nStay with me until the day"
_WINDOW_S = (4.0, 8.0)


@dataclass(frozen=True)
class Case:
    """A fixed request, the score that the planner makes of it, and the composer's own rendering in that style."""

    request: GenerateRequest
    style: str
    bpm: int
    keyscale: str
    score: Score
    target: Wave

    @property
    def known(self) -> Known:
        """What a track of this song would tell about it."""
        metre = str(self.score.timesignature)
        return Known(music=Music(bpm=self.bpm, keyscale=self.keyscale, timesignature=metre))


@dataclass(frozen=True)
class Row:
    """One line of the table: what the composer, nano, and nano against the wrong requests score; None: no such."""

    name: str
    composer: float | None
    nano: float
    shuffled: float | None
    goal: str
    passed: bool


class NanoUnderTest:
    """A nano checkpoint in the studio's own pipeline, without its page and its library."""

    def __init__(self, folder: Path) -> None:
        self.runtime: Runtime = open_runtime(folder, dtype="float32")
        self.recipe = recipe_of("nano")

    def take(self, request: SongRequest, source: Recording | None = None) -> Take:
        """The song that a request asks for, by nano's defaults."""
        job = Job(request=resolve(request, self.recipe, lambda limit: 0), recipe=self.recipe, source=source)
        with torch.inference_mode():
            return next(event for event in render(job, self.runtime, ComposerPlanner()) if isinstance(event, Take))

    def reconstructed(self, audio: Wave) -> Wave:
        """The audio `(2, S)` that the autoencoder alone makes of audio."""
        with torch.inference_mode():
            return self.runtime.decode(self.encode(audio)[None])[0].numpy()[:, : audio.shape[1]]

    def encode(self, audio: Wave) -> Tensor:
        """Latents `(T, 16)` of audio `(2, S)`."""
        with torch.no_grad():
            return self.runtime.encode(torch.from_numpy(audio)[None])[0]


def fixed_cases(count: int) -> list[Case]:
    """The same requests at every call: all styles in turn, 10 to 12 s, every third one sung."""
    rng = np.random.default_rng(2026)
    cases = []
    for i in range(count):
        style = tuple(styles())[i % len(styles())]
        bpm, keyscale = int(rng.integers(60, 181)), KEYS[rng.integers(len(KEYS))]
        request = GenerateRequest(
            prompt=plain_caption(style, rng), lyrics=_LYRICS if i % 3 == 0 else "", instrumental=i % 3 != 0,
            duration_s=float(10 + i % 3), bpm=bpm, keyscale=keyscale, seed=i,
            timesignature="3" if rng.random() < 0.25 else "4",
        )  # fmt: skip
        score = compose(
            Brief(music=replace(request.music, lyrics=request.lyrics), instrumental=request.instrumental, seed=i)
        )
        cases.append(Case(request, style, bpm, keyscale, score, styled(score, style)))
    return cases


@dataclass(frozen=True)
class Detections:
    """What the detectors find in one rendering."""

    audio: Wave
    tempo: float
    chroma: NDArray[np.float64]
    style: str

    @classmethod
    def of(cls, audio: Wave, latents: Tensor, classifier: StyleClassifier) -> Detections:
        """Run all detectors on one rendering and its latents `(T, 16)`."""
        return cls(audio, measure.tempo(audio), measure.chroma(audio), classifier.style(latents))


Verdict = Callable[[Detections, Case], float]
# Name, measure of a rendering against a case, the least (or with "<=" the most) that passes.
_MEASURES: Sequence[tuple[str, Verdict, float]] = (
    ("tempo within 4 % at an octave or 3:2", lambda d, c: measure.related_tempo(d.tempo, c.bpm), 0.90),
    ("tempo within 4 %", lambda d, c: measure.same_tempo(d.tempo, c.bpm), 0.60),
    (
        "key exact / relative / fifth / parallel",
        lambda d, c: measure.related_key(measure.key(d.chroma), c.keyscale),
        0.80,
    ),
    ("chroma in the scale", lambda d, c: measure.in_scale(d.chroma, c.keyscale), 0.72),
    ("pitch agreement 260-700 Hz", lambda d, c: measure.pitch_agreement(d.audio, c.target), 0.65),
    ("style by the classifier", lambda d, c: d.style == c.style, 0.80),
)
_PLAIN: Sequence[tuple[str, Callable[[Wave], float], float]] = (
    ("spectral flatness (median)", measure.flatness, 0.02),
    ("tenths of a second below -50 dB", measure.silent_share, 0.10),
    ("clipped samples", measure.clipped_share, 0.001),
)


def measured(checkpoint: NanoUnderTest, count: int) -> list[Row]:
    """The whole table. Takes about five minutes on two cores."""
    cases, classifier = fixed_cases(count), StyleClassifier(checkpoint.encode)
    composer = [Detections.of(case.target, checkpoint.encode(case.target), classifier) for case in cases]
    takes = [checkpoint.take(case.request) for case in cases]
    nano = [Detections.of(take.audio, torch.from_numpy(take.latents), classifier) for take in takes]
    wrong = cases[1:] + cases[:1]
    rows = []
    for name, score, least in _MEASURES:
        one, two, three = (
            float(np.mean([score(found, case) for found, case in zip(detections, requested, strict=True)]))
            for detections, requested in ((composer, cases), (nano, cases), (nano, wrong))
        )
        rows.append(Row(name, one, two, three, f">= {least:.2f}", two >= least))
    for name, plain, most in _PLAIN:
        one, two = (float(np.median([plain(each.audio) for each in detections])) for detections in (composer, nano))
        rows.append(Row(name, one, two, None, f"<= {most:g}", two <= most))
    return rows + _covered(checkpoint, cases) + _autoencoder(checkpoint) + _edited(checkpoint, cases)


def _covered(checkpoint: NanoUnderTest, cases: Sequence[Case], count: int = 16) -> list[Row]:
    """Covers of the composer's renderings in a style that only the words name, against a style that nobody named."""
    right, wrong = [], []
    names = tuple(styles())
    for i, case in enumerate(cases[:count]):
        start = names.index(case.style)
        wanted, other = (names[(start + step) % len(names)] for step in (1 + i % 6, 2 + i % 6))
        request = CoverRequest(prompt=f"{wanted} music", src_audio=Path("source"), seed=i)
        made = checkpoint.take(request, Recording(audio=case.target, known=case.known)).audio
        near, far, off = (
            measure.mel_distance(made, wave)
            for wave in (styled(case.score, wanted), case.target, styled(case.score, other))
        )
        right.append(near < far)
        wrong.append(off < near)
    share, confused = float(np.mean(right)), float(np.mean(wrong))
    name = "cover in a style named by words: nearer to it than to the source (wrong: than to another style)"
    return [Row(name, None, share, confused, ">= 0.80", share >= 0.8)]


def _autoencoder(checkpoint: NanoUnderTest, clips: int = 24) -> list[Row]:
    unseen = unseen_clips(clips)
    reconstructed = [checkpoint.reconstructed(clip) for clip in unseen]
    ratio = float(np.mean([measure.si_sdr(a, b) for a, b in zip(reconstructed, unseen, strict=True)]))
    distance = float(np.mean([measure.mel_distance(a, b) for a, b in zip(reconstructed, unseen, strict=True)]))
    return [
        Row("autoencoder, unseen clips: SI-SDR in dB", None, ratio, None, ">= 9", ratio >= 9.0),
        Row("autoencoder, unseen clips: mel distance in dB", None, distance, None, "<= 8", distance <= 8.0),
    ]


def _edited(checkpoint: NanoUnderTest, cases: Sequence[Case], count: int = 8) -> list[Row]:
    """A window of the composer's renderings made anew, as a user edits a song whose tempo and key are known."""
    start, end = (round(second * SAMPLE_RATE) for second in _WINDOW_S)
    kept, tempos, seams = [], [], []
    for case in cases[:count]:
        request = EditRequest(
            prompt=case.request.prompt, src_audio=Path("source"), segment_start_s=_WINDOW_S[0],
            segment_end_s=_WINDOW_S[1], seed=1000,
        )  # fmt: skip
        made = checkpoint.take(request, Recording(audio=case.target, known=case.known)).audio
        fade = SAMPLE_RATE // 2
        kept.append(
            np.array_equal(made[:, : start - fade], case.target[:, : start - fade])
            and np.array_equal(made[:, end + fade :], case.target[:, end + fade :])
        )
        tempos.append(measure.related_tempo(measure.tempo(made[:, start:end]), case.bpm))
        seams.append(_largest_jump(made, (start, end)) <= np.quantile(_jumps(case.target), 0.99))
    inside, outside, smooth = float(np.mean(tempos)), float(np.mean(kept)), float(np.mean(seams))
    return [
        Row("edited window: tempo inside, at an octave or 3:2", None, inside, None, ">= 0.80", inside >= 0.8),
        Row("edited window: samples outside unchanged", None, outside, None, "= 1", outside == 1.0),
        Row(
            "edited window: seams no louder than the source's 99th percentile", None, smooth, None, "v1: >= 0.95", True
        ),
    ]


def _jumps(audio: Wave) -> NDArray[np.float64]:
    """Changes of level in dB from one hundredth of a second to the next."""
    hundredths = audio.mean(axis=0)[: audio.shape[1] // 480 * 480].reshape(-1, 480)
    return np.abs(np.diff(10 * np.log10(np.mean(hundredths**2, axis=1) + 1e-6)))


def _largest_jump(audio: Wave, seams: tuple[int, int]) -> float:
    jumps = _jumps(audio)
    return float(max(jumps[seam // 480 - 3 : seam // 480 + 3].max() for seam in seams))


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""

    def shown(value: float | None) -> str:
        return "" if value is None else f"{value:.4f}" if 0 < abs(value) < 0.01 else f"{value:.2f}"

    lines = ["| measure | composer | nano | wrong request | wanted |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        verdict = row.goal if row.passed else f"{row.goal} (missed)"
        lines.append(f"| {row.name} | {shown(row.composer)} | {shown(row.nano)} | {shown(row.shuffled)} | {verdict} |")
    return "\n".join(lines)


def write_report(text: str, report: Path = REPORT) -> None:
    """Put the table between the markers of docs/nano.md."""
    begin, end = _MARKERS
    page = report.read_text(encoding="utf-8")
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    report.write_text(pattern.sub(lambda _: f"{begin}\n{text}\n{end}", page), encoding="utf-8")


def measure_checkpoint(folder: Path, *, write: bool, requests: int = REQUESTS) -> None:
    """Measure the checkpoint in `folder` and log its table; `write` also puts it into docs/nano.md."""
    text = table(measured(NanoUnderTest(folder), requests))
    LOG.info("%s", text)
    if write:
        write_report(text)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description="Measure a nano checkpoint.")
    parser.add_argument("folder", nargs="?", type=Path, default=nano_folder())
    parser.add_argument("--requests", type=int, default=REQUESTS, help=f"how many fixed requests (default: {REQUESTS})")
    parser.add_argument("--write", action="store_true", help="write the table into docs/nano.md")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    warnings.filterwarnings("ignore", category=FutureWarning)
    measure_checkpoint(options.folder, write=options.write, requests=options.requests)


if __name__ == "__main__":
    main()

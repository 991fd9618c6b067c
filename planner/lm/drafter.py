"""Drafts by the planner: a whole form from a line, fuller words from some, and the words for a recording."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from core.drafts import Draft, DraftRequest, EnhanceRequest, InspireRequest, UnderstandRequest
from core.events import Progress
from core.params import PlannerKnobs
from core.plans import NO_WORDS
from core.tables import CODES_PER_S, DURATION_S, LYRICS_CHARS, PROMPT_CHARS
from networks.acestep import scenes as contexts
from networks.lm.sampling import Sampler
from planner.lm.grammar import FIELDS, LYRICS_TOKENS, Decoding, facts, lyrics_text
from planner.lm.planner import LmPlanner, follow, sampling_of, told_facts
from planner.lm.prompts import NO_INPUT, Fact, Turn, format_prompt, inspire_prompt, understand_prompt
from planner.lm.tokens import TokenTables

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from networks.acestep.runtime import Runtime


class LmDrafter:
    """See drafts.Drafter. Writes its facts by the planner's grammar, then lyrics in free text without codes."""

    def __init__(self, planner: LmPlanner, lyrics_tokens: int = LYRICS_TOKENS) -> None:
        self.model = planner.model
        self.name = planner.name
        self.tables = planner.tables
        self._lyrics_tokens = lyrics_tokens

    def inspire(self, request: InspireRequest, seed: int) -> Iterator[Progress | Draft]:
        """See drafts.Drafter.inspire."""
        yield Progress("planning", note=f"drafting with {self.name}")
        given: dict[str, Fact] = {}
        if request.instrumental:
            given["language"] = "unknown"
        elif request.vocal_language:
            given["language"] = request.vocal_language
        turns = inspire_prompt(request.query.strip() or NO_INPUT, instrumental=request.instrumental)
        known, lyrics = yield from self._written(turns, given, request, seed, sung=not request.instrumental)
        yield self._draft(known, "" if request.instrumental else lyrics, seed)

    def enhance(self, request: EnhanceRequest, seed: int) -> Iterator[Progress | Draft]:
        """See drafts.Drafter.enhance; the length is the form's own."""
        yield Progress("planning", note=f"drafting with {self.name}")
        facts_given = {
            "bpm": request.bpm,
            "keyscale": request.keyscale,
            "language": request.vocal_language,
            "timesignature": request.timesignature,
        }
        given: dict[str, Fact] = {name: value for name, value in facts_given.items() if value is not None}
        lyrics = request.lyrics.strip()
        turns = format_prompt(request.prompt.strip() or NO_INPUT, lyrics or NO_WORDS)
        known, words = yield from self._written(turns, given, request, seed, sung=bool(lyrics))
        decided = {name: value for name, value in known.items() if name not in {*given, "duration"}}
        yield self._draft(decided, words if lyrics else None, seed)

    def understand(self, codes: Sequence[int], request: UnderstandRequest, seed: int) -> Iterator[Progress | Draft]:
        """Progress, then one Draft with the facts and words of a recording, told by its audio codes, five a second."""
        yield Progress("planning", note=f"listening with {self.name}")
        low, high = DURATION_S
        seconds = len(codes) // CODES_PER_S
        given: dict[str, Fact] = {"duration": seconds}
        turns = understand_prompt(codes, self.model.vocabulary)
        known, lyrics = yield from self._written(turns, given, request, seed, sung=True)
        if not low <= seconds <= high:
            del known["duration"]
        yield self._draft(known, lyrics, seed)

    def _written(
        self, turns: Sequence[Turn], given: Mapping[str, Fact], knobs: PlannerKnobs, seed: int, *, sung: bool
    ) -> Generator[Progress, None, tuple[dict[str, Fact], str]]:
        decoding = _form(self.tables, given, self._lyrics_tokens if sung else 0)
        sampler = Sampler(sampling_of(knobs), seed)
        return (yield from told_facts(follow(decoding, self.model, [self.model.vocabulary.turns(*turns)], sampler)))

    def _draft(self, known: Mapping[str, Fact], lyrics: str | None, seed: int) -> Draft:
        bpm, seconds = known.get("bpm"), known.get("duration")
        caption, keyscale, metre, language = (
            None if known.get(name) is None else str(known[name])
            for name in ("caption", "keyscale", "timesignature", "language")
        )
        return Draft(
            prompt=caption[:PROMPT_CHARS] if caption else None,
            lyrics=None if lyrics is None else lyrics[:LYRICS_CHARS],
            duration_s=None if seconds is None else float(seconds),
            bpm=None if bpm is None else int(bpm),
            keyscale=keyscale,
            timesignature=metre,
            vocal_language=language,
            author=self.name,
            seed=seed,
        )


def drafts_of(
    planner: LmPlanner, request: DraftRequest, runtime: Runtime | None, wave: NDArray[np.float32] | None
) -> Iterator[Progress | Draft]:
    """The draft that a planner makes of a request with a seed; a recording `(2, S)` is heard through the runtime."""
    drafter = LmDrafter(planner)
    assert request.seed is not None
    match request:
        case InspireRequest():
            yield from drafter.inspire(request, request.seed)
        case EnhanceRequest():
            yield from drafter.enhance(request, request.seed)
        case _:
            assert runtime is not None and wave is not None
            yield Progress("listening", note="listening")
            codes = contexts.heard(runtime, wave)[: CODES_PER_S * DURATION_S[1]]
            yield from drafter.understand(codes, request, request.seed)


def _form(tables: TokenTables, given: Mapping[str, Fact], lyrics_tokens: int) -> Decoding[tuple[dict[str, Fact], str]]:
    """The facts, and the lyrics of a song that is sung."""
    known = yield from facts(tables, given, FIELDS)
    lyrics = (yield from lyrics_text(tables, lyrics_tokens)) if lyrics_tokens else ""
    return known, "" if lyrics == NO_WORDS else lyrics

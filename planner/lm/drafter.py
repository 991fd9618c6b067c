"""Drafts by the planner: a whole form from a line, fuller words from some, and the words for a recording."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from core.drafts import Draft, EnhanceRequest, InspireRequest, UnderstandRequest
from core.events import Progress
from core.knobs import changed
from core.music import NO_LANGUAGE, NO_WORDS, Fact, Music
from core.params import PlannerKnobs
from core.tables import CODES_PER_S, DURATION_S, LYRICS_CHARS, PROMPT_CHARS
from networks.acestep import scenes as contexts
from networks.lm.sampling import Sampler
from planner.lm.grammar import FIELDS, LYRICS_TOKENS, Decoding, facts, lyrics_text
from planner.lm.planner import LmPlanner, follow, sampling_of, watched
from planner.lm.prompts import NO_INPUT, Turn, facts_of, format_prompt, inspire_prompt, music_of, understand_prompt
from planner.lm.tokens import TokenTables

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from networks.acestep.runtime import Runtime


class LmDrafter:
    """Drafts by the 5 Hz planner: facts by its grammar, then lyrics in free text, without codes.

    `codes` are those of the recording to understand, five a second.
    """

    def __init__(self, planner: LmPlanner, codes: Sequence[int] = (), *, lyrics_tokens: int = LYRICS_TOKENS) -> None:
        self.model = planner.model
        self.name = planner.name
        self.tables = planner.tables
        self._codes = codes
        self._lyrics_tokens = lyrics_tokens

    def inspire(self, request: InspireRequest, seed: int) -> Iterator[Progress | Draft]:
        """Progress, then one Draft of a whole song from a line."""
        yield Progress("planning", note=f"drafting with {self.name}")
        given = Music(language=NO_LANGUAGE if request.instrumental else request.vocal_language)
        turns = inspire_prompt(request.query.strip() or NO_INPUT, instrumental=request.instrumental)
        yield self._draft((yield from self._written(turns, given, request, seed, sung=not request.instrumental)), seed)

    def enhance(self, request: EnhanceRequest, seed: int) -> Iterator[Progress | Draft]:
        """Progress, then one Draft with a fuller prompt and the lyrics set; given facts and the length stay."""
        yield Progress("planning", note=f"drafting with {self.name}")
        given = dataclasses.replace(request.music, caption="")
        lyrics = request.lyrics.strip()
        turns = format_prompt(request.prompt.strip() or NO_INPUT, lyrics or NO_WORDS)
        music = yield from self._written(turns, given, request, seed, sung=bool(lyrics))
        # What is given stays as it is in the form, which keeps what a draft leaves open.
        kept = [fact for fact in given.facts() if fact != "lyrics"]
        music = changed(music, dict.fromkeys([*kept, "duration_s"]))
        yield self._draft(music if lyrics else dataclasses.replace(music, lyrics=""), seed)

    def understand(self, request: UnderstandRequest, seed: int) -> Iterator[Progress | Draft]:
        """Progress, then one Draft with the facts and words of the recording whose codes the drafter was given."""
        yield Progress("planning", note=f"listening with {self.name}")
        low, high = DURATION_S
        seconds = len(self._codes) // CODES_PER_S
        given = Music(duration_s=seconds)
        turns = understand_prompt(self._codes, self.model.vocabulary)
        music = yield from self._written(turns, given, request, seed, sung=True)
        yield self._draft(music if low <= seconds <= high else dataclasses.replace(music, duration_s=None), seed)

    def _written(
        self, turns: Sequence[Turn], given: Music, knobs: PlannerKnobs, seed: int, *, sung: bool
    ) -> Generator[Progress, None, Music]:
        """Progress; returns the facts, and the lyrics of a song that is sung."""
        decoding = _form(self.tables, facts_of(given), self._lyrics_tokens if sung else 0)
        sampler = Sampler(sampling_of(knobs), seed)
        prompts = [self.model.vocabulary.chatml(*turns)]
        facts_written, lyrics = yield from watched(follow(decoding, self.model, prompts, sampler))
        return dataclasses.replace(music_of(facts_written), lyrics=lyrics[:LYRICS_CHARS] or NO_WORDS)

    def _draft(self, music: Music, seed: int) -> Draft:
        return Draft(
            music=dataclasses.replace(music, caption=music.caption[:PROMPT_CHARS]), author=self.name, seed=seed
        )


def heard(wave: NDArray[np.float32], runtime: Runtime) -> Generator[Progress, None, tuple[int, ...]]:
    """Progress; returns the audio codes of a recording `(2, S)`, of as much as a song may be long."""
    told = Progress("listening", note="listening")
    yield told
    steps = contexts.codes_of(runtime, wave)
    with closing(steps):
        while True:
            try:
                done = next(steps)
            except StopIteration as end:
                codes: tuple[int, ...] = end.value
                return codes[: CODES_PER_S * DURATION_S[1]]
            yield dataclasses.replace(told, step=done.step, total=done.total)


def _form(tables: TokenTables, given: Mapping[str, Fact], lyrics_tokens: int) -> Decoding[tuple[dict[str, Fact], str]]:
    """The facts, and the lyrics of a song that is sung."""
    known = yield from facts(tables, given, FIELDS, genres=True)
    return known, (yield from lyrics_text(tables, lyrics_tokens)) if lyrics_tokens else ""

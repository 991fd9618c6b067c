"""The 5 Hz planner: a language model that decides a song's facts and then its audio codes, by the grammar."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

from core.events import Progress
from core.music import NO_LANGUAGE, Fact, Music
from core.params import GenerateRequest, PlannerKnobs, SongRequest
from core.plans import Plan, Span, length_from_words
from core.tables import CODES_PER_S, PROMPT_CHARS
from networks.lm.model import LanguageModel, Session
from networks.lm.sampling import Sampler, Sampling
from networks.lm.vocabulary import IM_END, Piece, Vocabulary
from planner.lm.grammar import CAPTION_TOKENS, Choice, Decided, Decoding, Forced, codes, facts
from planner.lm.prompts import (
    END_THINK,
    THINK,
    Turn,
    facts_of,
    generate_prompt,
    music_of,
    thought_text,
    unconditional_prompt,
)
from planner.lm.tokens import TokenTables

METAS = ("bpm", "duration", "keyscale", "timesignature")
"""When all of these are given there is nothing to think about."""

PULSE_S = 0.1
"""How often a choice is worth an event; a cancel waits no longer than that, or for one token."""

UNITS = {"bpm": "{} bpm", "duration": "{} s", "timesignature": "{} beats to the bar"}

T = TypeVar("T")


def sampling_of(knobs: PlannerKnobs, guidance: float = 1.0) -> Sampling:
    """How the knobs want tokens to be chosen."""
    return Sampling(
        temperature=knobs.lm_temperature,
        top_p=knobs.lm_top_p,
        top_k=knobs.lm_top_k,
        repetition_penalty=knobs.lm_repetition_penalty,
        guidance=guidance,
    )


@dataclass(frozen=True)
class Written:
    """How far a text is: the tokens chosen, and the fact that was decided now, if one was."""

    tokens: int
    fact: Decided | None = None


def follow(
    decoding: Decoding[T], model: LanguageModel, prompts: Sequence[Sequence[int]], sampler: Sampler
) -> Generator[Written, None, T]:
    """The steps of a decoding, token by token; returns what the decoding returns.

    The prompts share every token from there on. Closing the generator closes the session.
    """
    session = model.start(prompts)
    unread: list[int] = []  # forced tokens wait until a choice depends on them
    seen: set[int] = set()
    tokens, answer = 0, None
    try:
        while True:
            try:
                move = decoding.send(answer)
            except StopIteration as end:
                return cast(T, end.value)
            answer = None
            if isinstance(move, Forced):
                unread += move.ids
            elif isinstance(move, Decided):
                yield Written(tokens, move)
            else:
                session.feed(unread)
                unread.clear()
                answer = _chosen(move, session, sampler, seen)
                seen.add(answer)
                tokens += 1
                yield Written(tokens)
    finally:
        decoding.close()
        session.close()


def _chosen(choice: Choice, session: Session, sampler: Sampler, seen: set[int]) -> int:
    if isinstance(choice.allowed, range):
        return sampler.pick(session.logits(choice.allowed), first=choice.allowed.start, seen=seen)
    if choice.likeliest:
        return sampler.best(session.logits(), allowed=choice.allowed)
    return sampler.pick(session.logits(), allowed=choice.allowed, seen=seen)


class LmPlanner:
    """Plans a song with a language model: phase 1 thinks about its facts, phase 2 writes its audio codes.

    What the user gave is written into the thought, so that the model goes on from it.
    """

    def __init__(self, model: LanguageModel, name: str, caption_tokens: int = CAPTION_TOKENS) -> None:
        self.model = model
        self.name = name
        self.tables = TokenTables(model.vocabulary)
        self._caption_tokens = caption_tokens

    def plan(self, request: SongRequest, seed: int, span: Span) -> Iterator[Progress | Plan]:
        """Progress with every fact and on the way through the codes, then the Plan."""
        assert isinstance(request, GenerateRequest), "only a new song is planned by a language model"
        lyrics = request.music.lyrics
        known = facts_of(given_music(request, span))
        yield Progress("planning", note=f"planning with {self.name}")
        wanted = wanted_facts(request, known)
        if wanted:
            known = yield from self._thought(request, lyrics, known, wanted, seed)
        music, notes = music_of(known), []
        seconds = span.duration_s or music.duration_s
        if seconds is None:
            seconds = length_from_words(request.lyrics)
            notes.append(f"nobody chose a length: {seconds:g} seconds")
        written = yield from self._codes(request, lyrics, known, int(CODES_PER_S * seconds), seed)
        asked = Music(caption=_on_one_line(request.prompt), lyrics=lyrics, language=NO_LANGUAGE)
        music = dataclasses.replace(music.over(asked), duration_s=seconds)
        yield Plan(music=music, planner=self.name, notes=tuple(notes), codes=written)

    def close(self) -> None:
        """Free the model."""
        self.model.close()

    def _thought(
        self, request: GenerateRequest, lyrics: str, known: Mapping[str, Fact], wanted: Sequence[str], seed: int
    ) -> Generator[Progress, None, dict[str, Fact]]:
        """Phase 1, without guidance, which distorts text and breaks its lines early."""
        decoding = facts(self.tables, known, wanted, self._caption_tokens)
        prompt = self.model.vocabulary.chatml(*generate_prompt(request.prompt, lyrics))
        sampler = Sampler(sampling_of(request), [seed, 1])
        thought = yield from watched(follow(decoding, self.model, [prompt], sampler))
        if "caption" in thought:
            thought["caption"] = str(thought["caption"])[:PROMPT_CHARS].rstrip()  # as long as a plan may have it
        return thought

    def _codes(
        self, request: GenerateRequest, lyrics: str, known: Mapping[str, Fact], count: int, seed: int
    ) -> Generator[Progress, None, tuple[int, ...]]:
        """Phase 2: the codes behind the thought, guided away from those of no words and no thought.

        Its random numbers are its own: the same facts give the same codes, whoever decided them.
        """
        words, closed = self.model.vocabulary, request.lm_closed_turn
        prompts = [_thinking(words, generate_prompt(request.prompt, lyrics), known, closed=closed)]
        if request.lm_cfg_scale != 1:
            prompts.append(_thinking(words, unconditional_prompt(request.lm_negative_prompt), {}, closed=closed))
        sampler = Sampler(sampling_of(request, request.lm_cfg_scale), [seed, 2])
        steps = follow(codes(self.tables, count), self.model, prompts, sampler)
        note, pulse, started = f"{summary(known)}codes", Pulse(), time.monotonic()
        with contextlib.closing(steps):
            while True:
                try:
                    written = next(steps)
                except StopIteration as end:
                    return cast("tuple[int, ...]", end.value)
                if pulse.due() or written.tokens == count:
                    left_s = (time.monotonic() - started) / written.tokens * (count - written.tokens)
                    yield Progress("planning", written.tokens, count, left_s, note)


def _thinking(words: Vocabulary, turns: Sequence[Turn], known: Mapping[str, Fact], *, closed: bool) -> list[int]:
    """The ids of a prompt whose assistant has thought already; its turn stays open, as in training, unless `closed`."""
    end: list[Piece] = [words.control(IM_END), "\n"] if closed else []
    thinking = words.join(words.control(THINK), thought_text(known), words.control(END_THINK), "\n\n", *end)
    return [*words.chatml(*turns), *thinking]


def given_music(request: GenerateRequest, span: Span) -> Music:
    """What the user decided; an edited plan counts as the user's word, the prompt only where it stays as it is."""
    caption = request.own_plan.music.caption or ("" if request.use_cot_caption else _on_one_line(request.prompt))
    return dataclasses.replace(request.music, caption=caption, duration_s=span.duration_s)


def _on_one_line(text: str) -> str:
    return " ".join(text.split())


def wanted_facts(request: GenerateRequest, given: Mapping[str, Fact]) -> tuple[str, ...]:
    """What the planner is asked to decide: no fact where all are given, or none is wanted."""
    missing = [name for name in METAS if name not in given]
    if not missing or not request.use_cot_metas:
        return ()
    asked = {"caption": request.use_cot_caption, "language": request.use_cot_language}
    return (*missing, *(name for name, on in asked.items() if on and name not in given))


class Pulse:
    """Whether it is time for another event."""

    def __init__(self) -> None:
        self._last = 0.0

    def due(self) -> bool:
        """True at most once in `PULSE_S`."""
        now = time.monotonic()
        if now - self._last < PULSE_S:
            return False
        self._last = now
        return True


def watched(steps: Generator[Written, None, T]) -> Generator[Progress, None, T]:
    """Progress with each fact and at times in between; returns what the steps return."""
    known: dict[str, Fact] = {}
    pulse = Pulse()
    with contextlib.closing(steps):
        while True:
            try:
                written = next(steps)
            except StopIteration as end:
                return cast(T, end.value)
            if written.fact is not None:
                known[written.fact.field] = written.fact.value
            if written.fact is not None or pulse.due():
                yield Progress("planning", note=f"{summary(known)}{written.tokens} tokens")


def summary(known: Mapping[str, Fact]) -> str:
    """The short facts on one line, as a beginning: "planning: 92 bpm, C major, "."""
    short = [UNITS.get(name, "{}").format(known[name]) for name in (*METAS, "language") if name in known]
    return f"planning: {', '.join([*short, ''])}"

"""Drafts without weights: what the composer knows of styles, the built-in writer's words, and tempo and key by ear.

A small stand-in for the planner. It adds to what the user wrote and contradicts none of it; it recognises the words of
a few styles and understands nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from core.drafts import Draft, EnhanceRequest, InspireRequest, UnderstandRequest
from core.events import Progress
from core.lyrics import LyricsRequest, Tone
from core.music import NO_LANGUAGE, NO_WORDS, Music
from core.plans import length_from_words, within
from core.stated import length_stated, without_length
from core.steps import aside, telling
from core.tables import BPM, LYRICS_CHARS, PROMPT_CHARS, SAMPLE_RATE
from library import decoder
from library.analysis import listen
from lyrics.brief import subject_of
from lyrics.builtin_writer import SongWriter
from lyrics.foreign import is_foreign
from planner.composer.score import Brief, Score, compose
from planner.composer.styles import names_mood, names_style, names_tempo, styles

DRAFTER = "built-in drafter"
"""Who proposes, as the page shows it: a small program, not a language model."""

LISTENER = "by listening"
"""Where tempo and key come from, as the page shows it."""

STRUCTURE = "verse, chorus, verse, chorus"
SCORE_S = 10.0
"""The composer's choices do not depend on the length; a short score is soon written."""

STANZA_LINES = 4
"""Lines of a drafted section, and of those that unbroken lyrics are cut into."""

NO_MODEL = "a small program, not a language model: planner weights do more"
NO_STYLE = "no style that it knows is named: the instruments are left open"
NOTHING_BUT_FACTS = "tempo and key were found by listening; style and words need planner weights"
GENERAL_WORDS = "it knows English only and found none in the line: the lyrics are general ones"
OTHER_LANGUAGE = "its words would be English: the lyrics are left as they are"

_MOODS: Mapping[Tone | None, str] = {
    "hopeful": "uplifting",
    "tender": "tender",
    "sad": "melancholic",
    "angry": "tense",
    "playful": "playful",
    "dreamy": "hazy",
}
_MOOD_OF_SCALE = {"major": "bright", "minor": "moody"}
_TEMPOS = ((84, "slow"), (112, "mid-tempo"), (BPM[1], "fast"))
"""The word for tempos up to so many beats per minute."""


class BuiltinDrafter:
    """The drafter of a studio without planner weights."""

    name = DRAFTER

    def inspire(self, request: InspireRequest, seed: int) -> Iterator[Progress | Draft]:
        """One Progress, then a caption that holds the line, words on it, and the facts that the composer would take."""
        yield Progress("planning", note="drafting")
        line = " ".join(request.query.split())
        score = compose(Brief(music=Music(caption=line, duration_s=SCORE_S), seed=seed))
        stated_s, about = length_stated(line), without_length(line)
        subject = subject_of(about)
        notes = [NO_MODEL]
        if line and not names_style(line.lower()):
            notes.append(NO_STYLE)
        english = request.vocal_language in (None, "en", NO_LANGUAGE) and not is_foreign(line)
        lyrics = ""
        if not request.instrumental and english:
            lyrics = _words(about, seed)
            lyrics = lyrics if stated_s is None else within(lyrics, stated_s)
            notes += [GENERAL_WORDS] if line and not subject.is_english else []
        elif not request.instrumental:
            notes.append(OTHER_LANGUAGE)
        music = Music(
            caption=fuller(line, score, subject.tone),
            lyrics=lyrics or (NO_WORDS if english or request.instrumental else ""),
            duration_s=stated_s or (length_from_words(lyrics) if lyrics else None),
            bpm=score.bpm,
            keyscale=score.keyscale,
            timesignature=str(score.timesignature),
            language="en" if lyrics else None,
        )
        yield Draft(music=music, author=DRAFTER, seed=seed, notes=tuple(notes))

    def enhance(self, request: EnhanceRequest, seed: int) -> Iterator[Progress | Draft]:
        """One Progress, then the prompt with more said and the lyrics under tags; what needs nothing is left open."""
        yield Progress("planning", note="drafting")
        given = Music(caption=request.prompt, bpm=request.bpm, keyscale=request.keyscale, duration_s=SCORE_S)
        score = compose(Brief(music=given, seed=seed))
        prompt = fuller(request.prompt, score, subject_of(f"{request.prompt}\n{request.lyrics}").tone)
        lyrics = sectioned(request.lyrics)
        notes = [NO_MODEL]
        if request.prompt.strip() and not names_style(request.prompt.lower()):
            notes.append(NO_STYLE)
        if prompt == request.prompt and lyrics is None:
            notes.append("it has nothing to add")
        music = Music(caption="" if prompt == request.prompt else prompt, lyrics=lyrics or "")
        yield Draft(music=music, author=DRAFTER, seed=seed, notes=tuple(notes))

    def understand(self, request: UnderstandRequest, seed: int) -> Iterator[Progress | Draft]:
        """Progress, then tempo and key, where they are found; listening draws nothing.

        Raises RequestError for no usable audio.
        """
        assert request.src_audio is not None
        told = Progress("listening", note="listening")
        yield told
        sound = yield from telling(told, decoder.loading(request.src_audio, "src_audio"))
        known = yield from telling(told, aside(partial(listen, sound, SAMPLE_RATE)))
        yield Draft(music=known.music, author=LISTENER, notes=(NOTHING_BUT_FACTS,))


def fuller(prompt: str, score: Score, tone: Tone | None) -> str:
    """The prompt, then the players of its style, a mood and a tempo, as far as it does not speak of them already.

    An empty prompt gets the style of the score; one that names no style gets no players.
    """
    words = prompt.lower()
    added = [] if words.strip() else [score.style]
    if added or names_style(words):
        added += [players for players in styles()[score.style].players if not _speaks_of(words, players.split()[-1])]
    moods = {*_MOODS.values(), *_MOOD_OF_SCALE.values()}
    if not names_mood(words) and not any(_speaks_of(words, mood) for mood in moods):
        added.append(_MOODS.get(tone) or _MOOD_OF_SCALE[score.keyscale.split()[1]])
    if not names_tempo(words) and not any(_speaks_of(words, word) for _, word in _TEMPOS):
        added.append(next(word for highest, word in _TEMPOS if score.bpm <= highest))
    text = prompt
    for words in added:
        longer = f"{text.rstrip(' ,;.')}, {words}" if text.strip() else words
        text = longer if len(longer) <= PROMPT_CHARS else text
    return text


def sectioned(lyrics: str) -> str | None:
    """The lyrics under [verse] and [chorus], which is what comes back; None when there is nothing, or no room, to set.

    Stanzas are what stands between empty lines; lyrics without any are cut every `STANZA_LINES` lines. Lyrics that have
    tags are left alone.
    """
    if not lyrics.strip() or any(line.strip().startswith("[") for line in lyrics.splitlines()):
        return None
    stanzas = [[line.rstrip() for line in part.splitlines()] for part in re.split(r"\n\s*\n", lyrics.strip("\n"))]
    if len(stanzas) == 1 and len(stanzas[0]) > 2 * STANZA_LINES:
        lines = stanzas[0]
        stanzas = [lines[start : start + STANZA_LINES] for start in range(0, len(lines), STANZA_LINES)]
    if len(lyrics) + len("[chorus]\n") * len(stanzas) > LYRICS_CHARS:
        return None
    kinds = ("chorus" if back else "verse" for back in _coming_back(stanzas))
    return "\n\n".join("\n".join([f"[{kind}]", *lines]) for kind, lines in zip(kinds, stanzas, strict=True))


def _coming_back(stanzas: Sequence[Sequence[str]]) -> list[bool]:
    """Which stanzas share at least half of their lines with another one, whatever the case and punctuation."""
    spoken = [{re.sub(r"\W+", " ", line).strip().casefold() for line in stanza} for stanza in stanzas]
    return [
        any(2 * len(own & other) >= max(len(own), len(other)) for other in (*spoken[:place], *spoken[place + 1 :]))
        for place, own in enumerate(spoken)
    ]


def _words(line: str, seed: int) -> str:
    request = LyricsRequest(brief=line, structure=STRUCTURE, lines_verse=STANZA_LINES, lines_chorus=STANZA_LINES)
    writer = SongWriter(request, seed)
    return "\n\n".join("\n".join([f"[{name}]", *writer.section(name)]) for name in request.sections())


def _speaks_of(words: str, word: str) -> bool:
    """Whether the (lower-case) words hold the word, be it singular or plural."""
    stem = word.lower() if word.endswith("ss") else word.lower().removesuffix("s")
    return re.search(rf"(?<!\w){re.escape(stem)}s?(?!\w)", words) is not None

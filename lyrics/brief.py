"""What a brief is about: its noun phrases, its gerunds, its tone, and the words that go with them. English only."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from core.lyrics import Tone
from lyrics import pronunciation
from lyrics.words import NounKind, Topic, vocabulary

_CONTROL = re.compile(
    r"<\|[^|]*\|>|<(script|style)\b.*?</\1>|<[^<>]*>|\[[^\[\]]*\]|https?://\S+", re.IGNORECASE | re.DOTALL
)
_TOKEN = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*|[.,;:!?()\n]")
_ENGLISH_SHARE = 0.25
_MAX_SYLLABLES = 5
_MAX_NOUNS = 12  # of the brief; a song of some thirty lines says no more
_ENOUGH_NOUNS = 8  # of the topics; with fewer, common ones are added


@dataclass(frozen=True)
class Noun:
    """A noun phrase as a line takes it, such as "the rain" or "my mother"."""

    text: str
    kind: NounKind
    from_brief: bool = False

    @property
    def plural(self) -> bool:
        """Whether its verb is plural."""
        last = self.text.lower().split()[-1]
        return last in ("people", "children") or bool(re.search(r"[^sui'’]s$", last))


@dataclass(frozen=True)
class Subject:
    """All that the writer takes from a brief; `nouns` ends with what fills up a song on little or nothing."""

    nouns: tuple[Noun, ...]
    gerunds: tuple[str, ...]
    tone: Tone | None
    is_english: bool

    @property
    def own_words(self) -> tuple[str, ...]:
        """The noun phrases and gerunds that stand in the brief itself."""
        return (*(noun.text for noun in self.nouns if noun.from_brief), *self.gerunds)


def subject_of(brief: str) -> Subject:
    """The subject of a brief; control tokens, markup, tags and addresses in it are not read."""
    tokens = _TOKEN.findall(_CONTROL.sub(" ", brief))
    lowered = [token.lower().replace("’", "'") for token in tokens]
    spoken = [word for word in lowered if word[0].isalpha()]
    known = vocabulary()
    if not _is_english(spoken):
        return Subject(_nouns_of(known.common), (), None, False)
    nouns = list(dict.fromkeys(_noun_phrases(tokens)))[:_MAX_NOUNS]
    topical = [word for word in spoken if word not in known.passed_over]
    topics = [topic for topic in known.topics if not topic.cues.isdisjoint(topical)]
    own = {noun.text for noun in nouns}
    # One topic is a world to stay in; a third and later ones would only blur it.
    related = [noun for topic in topics[:2] for noun in _nouns_of(topic) if noun.text not in own]
    common = [] if len(related) >= _ENOUGH_NOUNS else list(_nouns_of(known.common))
    gerunds = dict.fromkeys(known.gerunds[word] for word in spoken if word in known.gerunds)
    return Subject(tuple(nouns + related + common), tuple(gerunds), _tone(spoken), True)


def _tone(spoken: list[str]) -> Tone | None:
    """The tone that most words of the brief speak for; None when none does."""
    votes = {tone: sum(word in cues for word in spoken) for tone, cues in vocabulary().tones.items()}
    best = max(votes, key=lambda tone: votes[tone])
    return best if votes[best] else None


@cache
def _kinds() -> dict[str, NounKind]:
    """The kind of every noun in the vocabulary, by its last word."""
    kinds: dict[str, NounKind] = {}
    for topic in (*vocabulary().topics, vocabulary().common):
        for noun in _nouns_of(topic):
            kinds.setdefault(noun.text.split()[-1], noun.kind)
    for kind, nouns in vocabulary().kinds.items():
        kinds |= dict.fromkeys(nouns, kind)
    return kinds


def _nouns_of(topic: Topic) -> tuple[Noun, ...]:
    return tuple(Noun(text, kind) for kind, texts in topic.nouns.items() for text in texts)


@cache
def _english() -> frozenset[str]:
    """The words that only English joins sentences with, its adjectives and gerunds, and the cues of every topic."""
    known = vocabulary()
    joining = known.passed_over | known.articles | known.possessives
    return joining.union(known.adjectives, known.gerunds, *(topic.cues for topic in known.topics))


def _is_english(spoken: list[str]) -> bool:
    """Whether enough words are English ones, or all of a very short brief are in the dictionary."""
    if len(spoken) <= 3 and all(word.isascii() and pronunciation.phones(word) for word in spoken):
        return bool(spoken)
    return sum(word in _english() for word in spoken) >= _ENGLISH_SHARE * len(spoken) > 0


def _is_verb(word: str) -> bool:
    known = vocabulary()
    stems = (word, word.removesuffix("s"), word.removesuffix("es"), word.removesuffix("d"), word.removesuffix("ed"))
    inflected = any(stem in known.verbs for stem in stems) or word in known.irregular_verbs
    return inflected or (word.endswith("ing") and word not in _kinds())


def _is_determiner(word: str) -> bool:
    return word in vocabulary().articles or word in vocabulary().possessives


def _noun_phrases(tokens: list[str]) -> Iterator[Noun]:
    """Noun phrases in order: runs of modifiers and nouns, cut at every other word."""
    run: list[str] = []
    before = "."
    for token in (*tokens, "."):
        word = token.lower().replace("’", "'")
        starts = _is_determiner(word)
        if starts or not _belongs(token, word, before):
            yield from _phrases_of(run)
            run = [token] if starts else []
        else:
            run.append(token)
        before = word


def _belongs(token: str, word: str, before: str) -> bool:
    """Whether a word is part of a noun phrase."""
    known = vocabulary()
    if not word[0].isalpha() or word in known.passed_over or not word.isascii() or len(word) < 3:
        return False
    if word in known.adjectives or word in _kinds() or word.endswith("'s"):
        return True
    if token[0].isupper() and not token.isupper() and before != ".":
        return True
    if before in known.subjects or word in known.gerunds or word.endswith(("ly", "ed")):
        return _is_determiner(before)
    return pronunciation.phones(word) is not None and (_is_determiner(before) or not _is_verb(word))


def _phrases_of(run: list[str]) -> Iterator[Noun]:
    """The whole phrase of a run and its bare noun, as far as they can be sung."""
    if not run:
        return
    known, first = vocabulary(), run[0].lower()
    owner = first if first in known.possessives else ""
    body = run[1:] if owner or first in known.articles else run
    if not body or body[-1].lower() in known.adjectives or body[-1].lower().endswith("'s"):
        return
    head = body[-1]
    if not _is_name(head):
        bare = _kind(head) == "feeling" or head.lower() in known.capitalised
        yield from _sung(body[-2:], owner or ("" if bare else "the"), _kind(head))
        yield from _sung(body[-1:], owner or ("" if bare else "the"), _kind(head))
        return
    yield from _sung([head], "", "any")
    if owner and len(body) > 1:  # "my dog Biscuit" is also "my dog"
        yield from _sung(body[-2:], owner, "any")
        yield from _sung(body[-2:-1], owner, _kind(body[-2]))


def _sung(words: list[str], article: str, kind: NounKind) -> Iterator[Noun]:
    """The noun phrase, if it is short enough to sing; after an owner ("Anna's garden") it takes no article."""
    owned = len(words) > 1 and words[0].lower().endswith("'s") and article == "the"
    phrase = f"{'' if owned else article} {' '.join(map(_cased, words))}".strip()
    if pronunciation.syllables(phrase) <= _MAX_SYLLABLES:
        yield Noun(phrase, kind, True)


def _kind(word: str) -> NounKind:
    return _kinds().get(word.lower(), "any")


def _is_name(word: str) -> bool:
    return word[0].isupper() and not word.isupper() and word.lower() not in _kinds()


def _cased(word: str) -> str:
    """A word as it is written inside a line: names and days keep their capital."""
    lowered = word.lower()
    if lowered in vocabulary().capitalised:
        return word.capitalize()
    return word if _is_name(word.removesuffix("'s")) else lowered

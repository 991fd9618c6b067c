"""Whether a brief is in another language than English, as far as scripts and joining words tell: no guess is forced.

English with foreign names, genres and single words in it is English.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

from lyrics.words import vocabulary

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_FEWEST, _SHARE = 2, 0.4
"""So many words, and such a share of all, have letters that English has not, where nothing in a brief is English."""


@dataclass(frozen=True, kw_only=True)
class Language:
    """The words that join sentences in a language, and those of English that it has as well."""

    joining: frozenset[str]
    shared: frozenset[str]


@cache
def _languages() -> Mapping[str, Language]:
    read = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
    return MappingProxyType(
        {
            code: Language(**{name: frozenset(words.get(name, "").split()) for name in ("joining", "shared")})
            for code, words in read.items()
        }
    )


@cache
def _english() -> frozenset[str]:
    known = vocabulary()
    return _languages()["en"].joining.union(known.passed_over, known.articles, known.possessives, known.adjectives)


def is_foreign(brief: str) -> bool:
    """Whether it is plainly not English: mostly in another script, or joined by the words of another language."""
    tokens = _WORD.findall(unicodedata.normalize("NFC", brief).replace("’", "'"))
    letters = [letter for token in tokens for letter in token if letter.isalpha()]
    if 2 * sum(not unicodedata.name(letter, "").startswith("LATIN") for letter in letters) > len(letters):
        return True
    words = {token.lower() for token in tokens}
    if any(_is_joined_in(language, words) for code, language in _languages().items() if code != "en"):
        return True
    # Names keep their letters in English too: words with a capital prove nothing.
    odd = {token for token in tokens if token[0].islower() and not token.isascii()}
    return len(odd) >= max(_FEWEST, _SHARE * len(words)) and not words & _english()


def _is_joined_in(language: Language, words: set[str]) -> bool:
    """Whether more than twice as many words join in that language as in English.

    One is enough where no word is English and some have letters that English has not.
    """
    neither = language.joining | language.shared
    own, english = words & language.joining, (words & _languages()["en"].joining) - neither
    if len(own) >= _FEWEST:
        return len(own) > 2 * len(english)
    return bool(own) and not words & (_english() - neither) and not all(word.isascii() for word in words)

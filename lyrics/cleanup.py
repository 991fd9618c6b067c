"""The answer of a language model made into lyrics while it comes: words and section tags, and nothing around them.

A text is judged line by line, so that it comes out the same however it was cut into pieces.
"""

from __future__ import annotations

import re

from core.lyrics import LyricsRequest

END_TAG = "[end]"
"""What the writer is asked to put after the last section."""

_NAMES = "|".join(name.replace("-", "[- ]?") for name in sorted(LyricsRequest.section_names, key=len, reverse=True))
_SECTION = rf"(?P<name>{_NAMES})\s*(?P<number>\d{{1,2}})?"
_ECHO = r"(?:\(?(?:\d+ lines?|without words)\)?)?"  # what the request says behind a tag, said again
_TAG = re.compile(rf"\s*\[\s*{_SECTION}\s*:?\s*\]\s*:?\s*{_ECHO}\s*", re.IGNORECASE)
_NAME_ALONE = re.compile(rf"\s*{_SECTION}\s*(?P<colon>[:：])?\s*", re.IGNORECASE)

_END = re.compile(rf"[\s*_#]*{re.escape(END_TAG)}", re.IGNORECASE)
_FENCE = re.compile(r"\s*(?:```|~~~)")
_RULE = re.compile(r"\s*([-*_])(?:\s*\1){2,}\s*")
_HEADING = re.compile(r"\A\s*#{1,6}\s+")
_BOLD = re.compile(r"(?<!\w)(\*{2,3}|_{2,3})(?=\S)(.{1,300}?)(?<=\S)\1(?!\w)")

_CHATTER = re.compile(
    r"\s*(?:(?:sure|certainly|of course|absolutely|ok|okay|alright|great|got it|understood)(?: thing)?\s*[!,.:;–—-]"
    r"|(?:here|below)(?:['’]s| is| are)\b.*\b(?:lyrics?|song|words|draft|text)\b"
    r"|i(?:['’]ve| have| wrote| hope|['’]ll| will)\b.*\b(?:lyrics?|song|words|draft|text)\b"
    r"|(?:song )?title\s*[:：])",
    re.IGNORECASE,
)


class Cleanup:
    """Takes a text in pieces and gives the lyrics in it, in whole lines.

    Left out are greetings and titles before the first section, code fences, headings' signs, rules and bold's
    asterisks; everything from the end tag, or the end of a fence, on; empty lines at both ends and all but one
    between. A section's tag is written in lower case, a heading that is a section's name becomes its tag. Any other
    line stays as it is.
    """

    def __init__(self) -> None:
        self.ended = False
        self._rest = ""
        self._begun = False
        self._greeting = False
        self._fenced = False
        self._gap = False

    def feed(self, piece: str) -> str:
        """The lyrics' next lines; empty until the piece completes one."""
        *lines, self._rest = (self._rest + piece).split("\n")
        cleaned = "".join(map(self._line, lines))
        # Seen before its line is over, so that the writer can stop there.
        self.ended = self.ended or _END.match(self._rest) is not None
        return cleaned

    def finish(self) -> str:
        """The last line, when the text did not end with a line break."""
        rest, self._rest = self._rest, ""
        return self._line(rest)

    def _line(self, raw: str) -> str:
        line = raw.rstrip()
        if self.ended or _END.match(line):
            self.ended = True
            return ""
        if _FENCE.match(line):
            self.ended = self._fenced and self._begun
            self._fenced, self._greeting = True, False
            return ""
        if not line or _RULE.fullmatch(line):
            self._gap, self._greeting = True, False
            return ""
        return self._words(line)

    def _words(self, line: str) -> str:
        """A line with something in it; empty when it belongs to what is said before the lyrics."""
        bare = _BOLD.sub(r"\2", _HEADING.sub("", line))
        bold = _BOLD.fullmatch(line.strip())
        marked = _HEADING.match(line) is not None or (bold is not None and bold[1] not in bold[2])
        tag = tag_of(bare, marked)
        if tag is None and not self._begun:
            introduces = bare.endswith((":", "："))
            greets = self._greeting or _CHATTER.match(bare) is not None
            self._greeting = greets and not introduces
            if greets or introduces or marked:  # what is marked here is the song's title
                return ""
        gap = "\n" if self._gap and self._begun else ""
        self._begun, self._gap = True, False
        return f"{gap}{tag or bare}\n"


def tag_of(line: str, marked: bool = False) -> str | None:
    """The tag that a line is, as the studio writes it; None for a line of words and for tags that are not known.

    A name without brackets counts when it is marked as a heading or ends in a colon.
    """
    found = _TAG.fullmatch(line)
    if found is None:
        found = _NAME_ALONE.fullmatch(line)
        if found is None or not (marked or found["colon"]):
            return None
    name = found["name"].lower()
    name = next(known for known in LyricsRequest.section_names if known.replace("-", "") == re.sub("[- ]", "", name))
    return f"[{name} {found['number']}]" if found["number"] else f"[{name}]"

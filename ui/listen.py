"""What goes on in the song that is shown: the stretch that is new in it, and its words as they are sung."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import gradio as gr

from core.errors import StudioError
from library.companions import Companion
from library.records import Track
from lyrics import synced
from lyrics.line_counts import sections_of
from lyrics.synced import How, Line, Section
from post_process import composed_times
from ui import compare

Row = tuple[str, bool, float | None, float | None]
"""A line of the words or the tag of a section, whether it is a tag, and from when to when it sounds."""

UNTIMED = "Lyric times lets them follow the music"


def make() -> gr.HTML:
    """An empty score, inside the open layout; listen.js lets it follow the player."""
    template = '<div class="listen"></div>'
    call = "studio.listen(element, props, watch)"
    return gr.HTML(None, html_template=template, js_on_load=call, apply_default_css=False, elem_id="listen")


def value(track: Track, made: Sequence[Companion]) -> dict[str, object]:
    """What listen.js shows of a track: `windows` are what is new in it, `rows` its words, `told` how they are timed."""
    rows, how = words(track, made)
    told = "" if not rows else f"Words · {synced.TOLD[how] if how else UNTIMED}"
    return {"seconds": track.seconds, "windows": compare.windows_of(track), "rows": rows, "told": told}


def words(track: Track, made: Sequence[Companion]) -> tuple[list[Row], How | None]:
    """The words of a track in the order in which they sound, and how their times were found, where they are at hand.

    Times that were asked for lie among what was `made` of the track; those that a score gives cost nothing.
    """
    for companion in made:
        if companion.action == "lrc" and companion.files:
            sheet = synced.read_lrc(companion.files[0].read_text(encoding="utf-8", errors="replace"))
            return _in_order(sheet.lines, sheet.sections), sheet.how
    try:
        times = composed_times(track)
    except StudioError:
        times = None
    if times is not None and times.lines:
        return _in_order(times.lines, times.sections), times.how
    return _untimed(str(track.values.get("lyrics") or "")), None


def _in_order(lines: Sequence[Line], sections: Sequence[Section]) -> list[Row]:
    """The sections and lines by their times; a section comes before the line that begins with it."""
    tags: list[Row] = [(each.tag, True, each.start_s, None) for each in sections]
    sung: list[Row] = [(each.text, False, each.start_s, each.end_s) for each in lines]
    return sorted(chain(tags, sung), key=lambda row: (round(row[2] or 0.0, 2), not row[1]))


def _untimed(lyrics: str) -> list[Row]:
    parts = list(sections_of(lyrics))
    if not any(lines for _, lines in parts):
        return []
    return [
        (text, is_tag, None, None)
        for tag, lines in parts
        for text, is_tag in chain([(tag, True)] if tag else [], ((line, False) for line in lines))
    ]

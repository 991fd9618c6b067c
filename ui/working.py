"""What the result shows while a song is made: where the job stands, and the latest stretch that can be heard of it."""

from __future__ import annotations

import base64

import gradio as gr

import tooltips
from core.events import Preview, Progress
from ui import tracks

_TEMPLATE = """
<section aria-label="In the making">
  <div class="head"><p class="what"></p><button type="button" class="aside" hidden>Show the song before</button></div>
  <p class="stage-of"></p>
  <div class="bar"></div>
  <div class="told"><p class="steps"></p><p class="left"></p></div>
  <div class="stage"><canvas aria-hidden="true"></canvas><i class="playhead" hidden></i></div>
  <div class="told"><p class="heard">No preview yet</p><button type="button" class="hear" disabled>Play</button></div>
</section>
"""


def build() -> gr.HTML:
    """The pane, inside the open layout; what it shows comes with the line of progress."""
    return gr.HTML("", html_template=_TEMPLATE, js_on_load="studio.working(element)", elem_id="working")


def at(name: str, progress: Progress) -> dict[str, str | int]:
    """Where a job stands, in words: what is made, its stage and place in line, its step, and the time left in all."""
    left = "" if progress.left_s is None else f"about {tracks.duration(progress.left_s)} left in all"
    return {
        "what": tooltips.title(name)[0],
        "stage": progress.note or progress.stage,
        "step": progress.step,
        "total": progress.total,
        "left": left,
    }


def heard(preview: Preview) -> dict[str, object]:
    """A preview as plain values; the sound is a wav file in base 64."""
    return {
        "step": preview.step,
        "total": preview.total,
        "start_s": round(preview.start_s, 2),
        "seconds": round(preview.seconds, 2),
        "peaks": list(preview.peaks),
        "sound": base64.b64encode(preview.sound).decode(),
    }

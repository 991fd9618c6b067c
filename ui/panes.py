"""The results: a song with what can be done next, or a draft of words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import gradio as gr
from gradio.components import Component

import tooltips
from core.tables import Mode
from ui import actions, bars, compare, listen, working
from ui.actions import ActionTools
from ui.handlers import Handlers
from ui.widgets import WAVEFORM

SEND_TO: tuple[Mode, ...] = ("cover", "extend", "edit")
"""The modes that take a song as their source."""

LOCK, UNLOCK = "Lock seed", "Unlock seed"


def plain_text(tag: str, elem_id: str, call: str = "studio.text(element, props, watch)") -> gr.HTML:
    """A line of text in the given tag, set by page.js: what users wrote is never read as markup."""
    return gr.HTML("", html_template=f"<{tag} data-text></{tag}>", js_on_load=call, elem_id=elem_id)


@dataclass(frozen=True, kw_only=True)
class PlanPane:
    """The plan that a song was made by: who planned, its text, and a button that takes it up again."""

    fold: gr.Accordion
    line: gr.HTML
    text: gr.HTML
    reuse: gr.Button


@dataclass(frozen=True, kw_only=True)
class SongPane:
    """The result of a song mode; `empty` stands in the place of `filled` until there is one.

    A job's song comes to `new` and `new_metadata`, unseen: the pane may show another one by then.
    """

    column: gr.Column
    empty: gr.Column
    filled: gr.Column
    title: gr.HTML
    takes: gr.Radio
    player: gr.Audio
    new: gr.Audio
    retake: gr.Button
    lock: gr.Button
    send: Mapping[Mode, gr.Button]
    wav: gr.DownloadButton
    part: gr.DownloadButton
    share: gr.HTML
    compare: gr.HTML
    actions: ActionTools
    plan: PlanPane
    sidecar: gr.DownloadButton
    metadata: gr.JSON
    new_metadata: gr.JSON

    @property
    def arrival(self) -> list[Component]:
        """Where the song of a job arrives."""
        return [self.new, self.new_metadata]


@dataclass(frozen=True, kw_only=True)
class WordsPane:
    """The result of the lyrics mode."""

    column: gr.Column
    draft: gr.Textbox
    counts: gr.HTML
    use: gr.Button
    earlier: gr.Button


def build_song_pane(handlers: Handlers) -> SongPane:
    """The pane of a song, inside the open layout."""
    with gr.Column(elem_id="song", min_width=0) as column:
        working.build()
        with gr.Column(elem_id="no-song") as empty:
            gr.HTML("<p>No song yet</p><p>Say what it should sound like, then press the large button.</p>")
        with gr.Column(elem_id="a-song", visible=False, min_width=0) as filled:
            title = plain_text("h2", "song-title", "studio.title(element, props, watch)")
            takes = gr.Radio([], label="Takes", elem_id="takes", visible=False, interactive=True)
            player = gr.Audio(
                label="Song",
                type="filepath",
                interactive=False,
                show_label=False,
                buttons=[],
                elem_id="player",
                waveform_options=WAVEFORM,
            )
            words = listen.make()
            with gr.Row(elem_classes=["actions"]):
                retake = gr.Button("Retake", elem_id="retake")
                lock = gr.Button(LOCK, elem_id="lock")
                wav = gr.DownloadButton("Download wav", elem_id="wav")
                part = gr.DownloadButton("Download the new part", elem_id="part", visible=False)
            share = bars.build_share()
            comparison = compare.make()
            with gr.Row(elem_classes=["actions"]):
                send = {mode: gr.Button(f"{tooltips.title(mode)[0]} this", elem_id=f"send-{mode}") for mode in SEND_TO}
            tools = actions.build(handlers, words)
            plan = _build_plan_pane()
            with gr.Accordion("Metadata", open=False, elem_id="metadata-fold"):
                metadata = gr.JSON(label="Metadata", show_label=False, elem_id="metadata")
                sidecar = gr.DownloadButton("Download metadata", elem_id="sidecar")
        new = gr.Audio(label="Song", type="filepath", interactive=False, visible=False)
        new_metadata = gr.JSON(label="Metadata", visible=False)
    return SongPane(
        column=column,
        empty=empty,
        filled=filled,
        title=title,
        takes=takes,
        player=player,
        retake=retake,
        lock=lock,
        send=send,
        wav=wav,
        part=part,
        share=share,
        compare=comparison,
        actions=tools,
        plan=plan,
        sidecar=sidecar,
        metadata=metadata,
        new=new,
        new_metadata=new_metadata,
    )


def _build_plan_pane() -> PlanPane:
    with gr.Accordion("Plan", open=False, elem_id="plan-fold") as fold:
        line = plain_text("p", "plan-author")
        plan = plain_text("pre", "plan-text")
        reuse = gr.Button("Reuse plan", elem_id="reuse-plan")
    return PlanPane(fold=fold, line=line, text=plan, reuse=reuse)


def build_words_pane() -> WordsPane:
    """The pane of a draft, inside the open layout."""
    with gr.Column(elem_id="words", visible=False, min_width=0) as column:
        draft = gr.Textbox(
            "",
            label="Draft",
            info="Yours to change before it is sung.",
            lines=16,
            max_lines=40,
            interactive=True,
            elem_id="draft",
        )
        counts = plain_text("p", "line-counts")
        use = gr.Button("Use in Generate", elem_id="use-lyrics")
        earlier = gr.Button("Earlier draft", elem_id="earlier-draft", visible=False)
    return WordsPane(column=column, draft=draft, counts=counts, use=use, earlier=earlier)

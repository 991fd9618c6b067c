"""The tools beside the list of adapters: add an uploaded file or a preset, and say what it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from gradio.components import Component
from gradio.utils import get_upload_folder

from checkpoints import find
from core.adapters import AdapterChoice, read_choices, write_choices
from core.errors import AdapterError
from core.tables import Mode
from networks.acestep.lora.adapter import Adapter, check_fit, describe, linear_shapes
from networks.acestep.lora.presets import gather, locate, presets
from ui.endpoints import QUIET
from ui.panes import plain_text


@dataclass(frozen=True, kw_only=True)
class AdapterTools:
    """A button for files, a list of presets (None when there are none), and the line that says what was added."""

    upload: gr.UploadButton
    preset: gr.Dropdown | None
    line: gr.HTML


def build(mode: Mode) -> AdapterTools:
    """The tools of one mode's form, inside the open layout."""
    known = sorted(presets())
    with gr.Column(elem_classes=["cell", "tall"], min_width=0):
        upload = gr.UploadButton(
            "Add an adapter: .safetensors, or the two files of a PEFT folder",
            file_count="multiple",
            file_types=[".safetensors", ".json"],
            elem_id=f"{mode}-add-adapter",
        )
        preset = gr.Dropdown(known, value=None, label="Add a preset") if known else None
        line = plain_text("p", f"{mode}-adapter-line")
    return AdapterTools(upload=upload, preset=preset, line=line)


def wire(tools: AdapterTools, listed: Component) -> None:
    """Let what the tools add stand in the list, `listed`."""
    tools.upload.upload(add_files, inputs=[listed, tools.upload], outputs=[listed, tools.line], **QUIET)
    if tools.preset is not None:
        tools.preset.input(add_preset, inputs=[listed, tools.preset], outputs=[listed, tools.line], **QUIET)


def add_files(text: str, files: Sequence[str]) -> tuple[str, str]:
    """The list with the uploaded adapter in it and what it is; the list as it was and the reason when it is refused."""
    try:
        adapter = describe(gather([Path(file) for file in files], Path(get_upload_folder())))
        _check_fit(adapter)
        about = f"{adapter.form} ({adapter.kind}), rank {adapter.rank}"
        facts = f"{about}, {adapter.bytes / 1e6:.1f} MB, {adapter.sha256[:8]}"
        return _with(text, str(adapter.path)), f"Added {adapter.title}: {facts}"
    except (AdapterError, ValueError) as refused:
        return text, f"Not added: {refused}"


def add_preset(text: str, name: str) -> tuple[str, str]:
    """The list with a preset in it, and a line that says so."""
    try:
        _check_fit(describe(locate(name)))
        return _with(text, name), f"Added {name}"
    except (AdapterError, ValueError) as refused:
        return text, f"Not added: {refused}"


def _check_fit(adapter: Adapter) -> None:
    """Raise AdapterError for an adapter that none of the checkpoints on this machine could use."""
    refusals = []
    for row in find.installed():
        try:
            check_fit(adapter, linear_shapes(find.checkpoint(row.name).folder))
            return
        except AdapterError as unfit:
            refusals.append(unfit)
    if refusals:
        raise refusals[0]


def _with(text: str, name: str) -> str:
    """The list with one choice more; raises ValueError with the rule that it would break."""
    longer = write_choices([*read_choices(text or ""), AdapterChoice(name)])
    read_choices(longer)
    return longer

"""What README.md promises: the Space's facts, the commands, the links."""

from __future__ import annotations

import re
import shlex
from importlib.metadata import version
from pathlib import Path

import pytest
from huggingface_hub import metadata_load

from checkpoints import table
from cli import main as cli
from core.knobs import knobs_of, parse
from core.requests import REQUESTS

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")
COMMANDS = [line for line in re.findall(r"^\./studio (\w+ --.*)$", TEXT, re.MULTILINE) if not line.startswith("test")]


def test_the_space_is_told_what_the_studio_is_tested_with() -> None:
    facts = metadata_load(README)
    assert facts["sdk"] == "gradio"
    assert facts["app_file"] == "app.py" and (ROOT / "app.py").is_file()
    assert facts["license"] == "mit" and (ROOT / "LICENSE").is_file()
    assert facts["python_version"] == "3.12"
    assert len(facts["short_description"]) <= 60


@pytest.mark.locked
def test_the_space_runs_the_gradio_that_the_tests_run_on() -> None:
    assert metadata_load(README)["sdk_version"] == version("gradio")


def test_the_space_preloads_exactly_what_it_runs_on() -> None:
    assert metadata_load(README)["preload_from_hub"] == [table.row(name).repo for name in table.ON_SPACES]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_one_that_the_studio_takes(command: str) -> None:
    values = vars(cli.parser().parse_args(shlex.split(command)))
    request = REQUESTS[cli.COMMANDS[values.pop("mode")]]
    knobs = {knob.name for knob in knobs_of(request)}
    parse(request, {name: value for name, value in values.items() if name in knobs})


def test_the_commands_are_there() -> None:
    assert {command.split()[0] for command in COMMANDS} == set(cli.COMMANDS)


@pytest.mark.parametrize(
    "document", [README, *sorted((ROOT / "docs").glob("*.md"))], ids=lambda document: document.name
)
def test_every_link_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)\)", document.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (document.parent / link).exists()]
    assert not missing

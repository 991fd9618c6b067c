"""The page's scripts: what they share, and that every event and template names something that is there."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from backend import Settings, Studio
from networks.machine import Machine
from tests.conftest import ROOT
from ui import page
from ui.page import FIRST_SCRIPT, SCRIPTS

SHARING = re.compile(r"(?:Object\.assign\(window\.studio, |window\.studio = )\{(?P<names>.*)\}")
NAMED = re.compile(r"\bstudio\.(\w+)")
TAKEN = re.compile(r"const \{(?P<names>[^}]*)\} = window\.studio")


def names_in(listed: str) -> list[str]:
    """The names of an object's properties, without what is nested in them."""
    flat = re.sub(r"\{.*?\}", "", listed)
    return [name for part in flat.split(",") if (name := part.partition(":")[0].strip()) and not name.startswith("...")]


@pytest.fixture(scope="module")
def shared() -> Counter[str]:
    """How many scripts share something under each name."""
    texts = [path.read_text(encoding="utf-8") for path in (FIRST_SCRIPT, *SCRIPTS)]
    found = [match["names"] for text in texts for match in SHARING.finditer(text)]
    return Counter(name for listed in found for name in names_in(listed))


def test_no_script_shares_under_the_name_of_another(shared: Counter[str]) -> None:
    assert {"choices", "hub", "player", "follow"} <= shared.keys()
    assert [name for name, times in shared.items() if times > 1] == []


def test_whatever_asks_for_something_shared_finds_it(shared: Counter[str], tmp_path: Path) -> None:
    studio = Studio(Settings(checkpoint="nano", machine=Machine(device="cpu"), outputs=tmp_path))
    built = page.build(studio)
    asking = [str(event.js) for event in built.fns.values() if event.js]
    asking += [code for block in built.blocks.values() if (code := getattr(block, "js_on_load", None))]
    asking += [path.read_text(encoding="utf-8") for path in SCRIPTS]
    asking += [path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "browser").glob("*.py")]
    studio.close()
    asked = {name for code in asking for name in NAMED.findall(code)}
    asked |= {name for code in asking for match in TAKEN.finditer(code) for name in names_in(match["names"])}
    assert len(asked) > 50
    assert asked - shared.keys() == set()
    assert shared.keys() - asked == set()

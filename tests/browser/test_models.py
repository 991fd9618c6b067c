"""The models panel as a person meets it: weights come with their consent, go on where they stopped, and go again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import DESK, NewContext, open_fold, shoot, watched
from tests.conftest import ROOT, App, serving
from tests.hub_server import Fault, Hub
from tests.hub_server import serving as serving_hub
from tests.tiny_lm import save_lm

REPO, NAME = "Qwen/Qwen2.5-1.5B-Instruct", "qwen-1.5b"
LARGE = "model.safetensors"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub on this machine that has a lyric writer of a few hundred thousand weights."""
    folder = save_lm(tmp_path / "published", family="qwen2", width=512)
    with serving_hub() as hub:
        hub.repos[REPO] = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        yield hub


@pytest.fixture
def online(hub: Hub, tmp_path: Path) -> Iterator[App]:
    """A studio of its own that may ask that hub."""
    home = tmp_path / "studio"
    home.mkdir()
    told = {
        "HF_ENDPOINT": hub.url,
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(home / "hf"),
        "no_proxy": "127.0.0.1,localhost",
    }
    with serving(home, ROOT / "app.py", environment=told) as running:
        yield running


@pytest.fixture
def page(new_context: NewContext, online: App) -> Iterator[Page]:
    yield from watched(new_context(viewport=DESK), online)


def models(page: Page) -> None:
    page.locator("#modes label", has_text="Models").click()
    expect(page.locator("#weights-nano")).to_be_visible()


def test_weights_come_with_consent_go_on_where_they_stopped_are_verified_and_removed(
    page: Page, hub: Hub, online: App
) -> None:
    hub.faults[LARGE] = [Fault("slow", 400)]
    models(page)
    row = page.locator(f"[id='weights-{NAME}']")
    said, state = row.locator(".said"), row.locator(".state")
    expect(page.locator("#weights-nano .state")).to_have_text("in use")
    expect(page.locator("#weights-nano button")).to_have_text(["Verify"])
    consent = row.get_by_role("button", name=re.compile("^Download 3.1 GB"))
    expect(consent).to_contain_text(f"Apache-2.0 · from {hub.url.removeprefix('http://')}/{REPO}")
    assert hub.requests == []
    consent.press("Enter")
    expect(said).to_have_text(re.compile(rf"^downloading {LARGE} · .*MB/s"))
    expect(row.get_by_role("button", name="Stop")).to_be_focused()
    shoot(page, "models")
    page.reload()  # the studio goes on, and the page that comes back sees it
    models(page)
    expect(said).to_have_text(re.compile(f"^downloading {LARGE}"))
    row.get_by_role("button", name="Stop").click()
    expect(said).to_have_text("Stopped. Started again, it goes on where it stopped.")
    expect(state).to_have_text(re.compile(r"^\d+ MB here$"))
    assert all(asked.start == 0 for asked in hub.asked)
    row.get_by_role("button", name=re.compile("^Go on with the download")).click()
    expect(state).to_have_text("in use")
    expect(said).to_have_text("Installed.")
    assert max(asked.start for asked in hub.asked if asked.path == LARGE) > 0
    page.locator("#modes label", has_text="Lyrics").click()
    open_fold(page, "lyrics-writer")
    expect(page.locator("#lyrics-writer input")).to_have_value(f"auto · {NAME}")
    expect(page.locator("#lyrics-temperature input").first).to_be_enabled()  # what the built-in writer cannot honour
    models(page)
    row.get_by_role("button", name="Verify").click()
    expect(said).to_have_text(re.compile(r"^Whole: \d+ files, 0.0\d B parameters, \d checksums are right.$"))
    row.get_by_role("button", name="Remove").click()
    expect(row).to_contain_text(f"Remove Qwen 2.5 1.5B Instruct from {online.models / NAME}?")
    row.get_by_role("button", name="Keep it").click()
    expect(state).to_have_text("in use")
    row.get_by_role("button", name="Remove").click()
    row.get_by_role("button", name="Remove").click()
    expect(said).to_contain_text("Removed:")
    expect(state).to_be_hidden()
    assert not (online.models / NAME).exists()

"""What can be done to the song that is shown: by a press, found again, and never shown under another one."""

from __future__ import annotations

import numpy as np
from playwright.sync_api import Page, expect

from core.tables import SAMPLE_RATE
from library.records import Record, Track
from library.tracks import Library
from tests.browser.conftest import come_to_rest, open_fold
from tests.conftest import App

ACTION_MS = 60_000
"""How long an action may take on a machine that is busy with something else, in milliseconds."""


def track_in(app: App, title: str, *, words: str = "") -> Track:
    """A song that no composer wrote."""
    noise = np.random.default_rng(len(title)).uniform(-0.2, 0.2, (2, SAMPLE_RATE)).astype(np.float32)
    record = Record(mode="generate", title=title, checkpoint="nano", seed=5, values={"lyrics": words})
    return Library(app.outputs).save(noise, None, record)


def show(page: Page, title: str) -> None:
    page.locator("#history label", has_text=title).first.click()
    expect(page.locator("#song-title h2")).to_contain_text(title)


def press(page: Page, name: str, line: str) -> None:
    page.locator(f"#action-{name}").click()
    expect(page.locator("#progress [data-text]")).to_contain_text(line, timeout=ACTION_MS)


def test_what_is_made_of_a_song_is_listed_under_it_and_under_no_other(page: Page, app: App) -> None:
    kept = [track_in(app, "morning tape", words="[verse]\nrain"), track_in(app, "evening tape")]
    page.reload()
    come_to_rest(page)
    show(page, "morning tape")
    expect(page.locator("#made")).to_be_hidden()
    expect(page.locator("#action-notes")).to_be_hidden()  # nobody composed it
    press(page, "lrc", "made · morning-tape_seed5.lrc")
    open_fold(page, "action")
    page.locator("#normalise-lufs input").first.fill("-20")
    press(page, "normalise", "made · morning-tape_seed5_-20lufs.wav")
    expect(page.locator("#made")).to_contain_text("morning-tape_seed5")
    expect(page.locator("#made .file")).to_have_count(2)
    show(page, "evening tape")
    expect(page.locator("#made")).to_be_hidden()
    expect(page.locator("#action-lrc")).to_be_hidden()  # it has no words
    press(page, "stems", "Hybrid Transformer Demucs is not installed (84 MB)")
    page.reload()
    come_to_rest(page)
    show(page, "morning tape")
    expect(page.locator("#made .file")).to_have_count(2)
    for track in kept:
        Library(app.outputs).delete(track.id)

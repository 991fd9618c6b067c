"""While a song is made: where it stands and what it will be, in the place of the result; and jobs that a page left."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import soundfile
from playwright.sync_api import Page, expect

from core.tables import SAMPLE_RATE
from library.tracks import Library, Record
from tests.browser.conftest import come_to_rest, open_fold
from tests.browser.test_page import SONG_MS
from tests.conftest import App

SHIFTS = """() => {
  window.shifted = 0;
  const add = (entry) => (window.shifted += entry.hadRecentInput ? 0 : entry.value);
  new PerformanceObserver((list) => list.getEntries().forEach(add)).observe({ type: "layout-shift" });
}"""
"""Adds up what moves of itself from now on."""

LONG_S = 120
"""So much of a recording is not listened to, nor measured, before a page can be reloaded."""


def test_a_song_is_followed_and_heard_in_the_place_of_the_result_until_it_is_there(page: Page) -> None:
    pane, title, line = page.locator("#working"), page.locator("#song-title h2"), page.locator("#progress [data-text]")
    page.locator("#generate-prompt textarea").fill("slow waltz")
    page.locator(".chips button", has_text="10 s").click()
    come_to_rest(page)
    page.evaluate(SHIFTS)
    page.locator("#run-generate").click()
    expect(pane.locator(".what")).to_have_text("Generate")
    expect(page.locator("#no-song")).to_be_hidden()
    expect(pane.locator(".left")).to_have_text(re.compile(r"about \d+ (s|min) left in all"))
    expect(pane.locator(".heard")).to_have_text(
        re.compile(r"Preview after step \d of 8 · 0:0\d – 0:0\d"), timeout=SONG_MS
    )
    pane.locator(".hear").click()
    expect(pane.locator(".hear")).to_have_text("Pause")
    expect(title).to_have_text(re.compile("^slow waltz · 0:10"), timeout=SONG_MS)
    expect(pane).to_be_hidden()
    assert page.evaluate("window.shifted") < 0.02
    page.locator("#retake").click()
    expect(pane.locator(".heard")).to_have_text("No preview yet")
    expect(title).to_be_hidden()
    pane.locator(".aside").click()
    expect(title).to_be_visible()
    expect(pane).to_be_hidden()
    page.locator("#progress .back").click()
    expect(pane).to_be_visible()
    page.locator("#cancel").click()
    expect(line).to_have_text("cancelled · nothing was saved")
    expect(title).to_be_visible()
    expect(pane).to_be_hidden()


def test_a_reloaded_page_shows_the_draft_and_the_action_that_it_left(page: Page, app: App, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).uniform(-0.2, 0.2, (2, LONG_S * SAMPLE_RATE)).astype(np.float32)
    recording = tmp_path / "noise.wav"
    soundfile.write(recording, noise.T, SAMPLE_RATE)
    track = Library(app.outputs).save(noise, None, Record(mode="generate", title="a tape", checkpoint="nano", seed=5))
    page.reload()
    open_fold(page, "understand")
    page.locator("#understand-src-audio input[type=file]").set_input_files(recording)
    expect(page.locator("#understand-src-audio .waveform-container")).to_be_visible()
    page.locator("#draft-understand").click()
    expect(page.locator("#progress [data-text]")).to_contain_text("listening")
    page.reload()
    expect(page.locator("#draft-line p")).to_contain_text("by listening", timeout=SONG_MS)
    expect(page.locator("#undo-draft")).to_be_enabled()
    come_to_rest(page)
    page.locator("#history label", has_text="a tape").first.click()
    expect(page.locator("#song-title h2")).to_contain_text("a tape")
    page.locator("#action-normalise").click()
    expect(page.locator("#progress [data-text]")).to_contain_text("measuring")
    page.reload()
    expect(page.locator("#song-title h2")).to_contain_text("a tape", timeout=SONG_MS)
    expect(page.locator("#made")).to_contain_text("a-tape_seed5")
    expect(page.locator("#player #duration")).to_have_text("2:00")  # its sound has come
    expect(page.locator("#run-generate")).to_be_visible()
    Library(app.outputs).delete(track.id)

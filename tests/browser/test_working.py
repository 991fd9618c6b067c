"""While a song is made: where it stands and what it will be, in the place of the result."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.browser.conftest import come_to_rest
from tests.browser.test_page import SONG_MS

SHIFTS = """() => {
  window.shifted = 0;
  const add = (entry) => (window.shifted += entry.hadRecentInput ? 0 : entry.value);
  new PerformanceObserver((list) => list.getEntries().forEach(add)).observe({ type: "layout-shift" });
}"""
"""Adds up what moves of itself from now on."""


def test_a_song_is_followed_and_heard_in_the_place_of_the_result_until_it_is_there(page: Page) -> None:
    pane, title, line = page.locator("#working"), page.locator("#song-title h2"), page.locator("#progress [data-text]")
    page.locator("#generate-prompt textarea").fill("slow waltz")
    page.locator(".chips button", has_text="1 min").click()  # long enough to be heard before it is done
    come_to_rest(page)
    page.evaluate(SHIFTS)
    page.locator("#run-generate").click()
    expect(pane.locator(".what")).to_have_text("Generate")
    expect(page.locator("#no-song")).to_be_hidden()
    expect(pane.locator(".left")).to_have_text(re.compile(r"about \d+ (s|min) left in all"))
    expect(pane.locator(".heard")).to_have_text(
        re.compile(r"Preview after step \d of 8 · \d:\d\d – \d:\d\d"), timeout=SONG_MS
    )
    pane.locator(".hear").click()
    expect(pane.locator(".hear")).to_have_text("Pause")
    expect(title).to_have_text(re.compile("^slow waltz · 1:00"), timeout=SONG_MS)
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

"""The page by keyboard alone: what skips, runs and stops, and where the focus is meanwhile."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from library.tracks import Library
from tests.browser.conftest import come_to_rest
from tests.browser.test_page import SONG_MS, quick
from tests.browser.test_pane import come_back, save

WRITING = """key => document.activeElement.dispatchEvent(
  new KeyboardEvent("keydown", { key, isComposing: true, ctrlKey: key === "Enter", bubbles: true, cancelable: true })
)"""
"""A key that belongs to the input method by which something is written."""

HELD = "document.activeElement.closest('#history, #modes')?.id"


def test_keys_skip_the_rail_run_and_stop_a_song_and_never_lose_the_focus(page: Page) -> None:
    run, cancel, line = (page.locator(name) for name in ("#run-generate", "#cancel", "#progress [data-text]"))
    prompt, list_of_weights = page.locator("#generate-prompt textarea"), page.locator("#generate-checkpoint input")
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the form")).to_be_focused()
    expect(page.get_by_text("Skip to the form")).to_be_in_viewport(ratio=1)
    page.keyboard.press("Enter")
    expect(page.locator("#work")).to_be_focused()
    assert "#" not in page.url
    quick(page)
    page.locator(".chips button", has_text="10 s").click()
    page.locator("#generate-inference-steps input").fill("200")
    prompt.press_sequentially("keyed tango")
    page.evaluate(WRITING, "Enter")
    expect(run).to_be_visible()
    page.keyboard.press("Control+Enter")
    expect(cancel).to_be_visible()
    expect(prompt).to_be_focused()
    page.evaluate(WRITING, "Escape")
    page.locator("#draft-enhance").press("Enter")  # it rests meanwhile
    list_of_weights.click()
    expect(page.get_by_role("listbox")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("listbox")).to_be_hidden()
    expect(line).to_have_text(re.compile("^denoising"), timeout=SONG_MS)
    page.keyboard.press("Escape")
    expect(line).to_have_text("cancelled · nothing was saved")
    expect(list_of_weights).to_be_focused()
    expect(page.locator("#draft-line p")).to_have_text("")
    page.locator("#generate-inference-steps input").fill("2")
    run.press("Enter")
    expect(cancel).to_be_focused()
    expect(page.locator("#song-title h2")).to_contain_text("keyed tango", timeout=SONG_MS)
    expect(run).to_be_focused()


def test_the_history_is_one_stop_and_arrows_go_from_song_to_song(page: Page, library: Library) -> None:
    for title in ("an older song", "an old song", "a new song"):
        save(library, title)
    come_back(page, 3)
    page.locator("#modes input:checked").focus()
    page.keyboard.press("Tab")
    assert page.evaluate(HELD) == "history"
    page.keyboard.press("Tab")
    assert page.evaluate(HELD) is None
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    assert page.evaluate(HELD) == "modes"
    page.keyboard.press("Tab")
    for title in ("an old song", "an older song"):
        page.keyboard.press("ArrowDown")
        expect(page.locator("#song-title h2")).to_contain_text(title)
        come_to_rest(page)
        assert page.evaluate(HELD) == "history"
    page.keyboard.press("Shift+Tab")
    assert page.evaluate(HELD) == "modes"
    page.keyboard.press("Tab")
    expect(page.locator("#history label.selected input")).to_be_focused()

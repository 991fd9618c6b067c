"""How a form starts, as a person meets it: one line and one press, what the browser kept, and a link in another one."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.browser.conftest import PATIENCE_S, NewContext, come_to_rest, open_fold, shoot
from tests.conftest import App

SONG_MS = 120_000
NASTY = "tender jazz about <b>snow</b> ${document.title='owned'} {{value}}"
KEPT = "JSON.parse(localStorage.getItem('ace-music-studio-forms') ?? '{}')"


def bar(page: Page, name: str, mode: str = "generate") -> None:
    page.locator(f"#{mode}-start").get_by_role("button", name=name, exact=True).click()


def test_a_line_and_one_press_make_a_song_whose_draft_can_be_seen_shared_and_undone(
    page: Page, new_context: NewContext, app: App
) -> None:
    prompt, said = page.locator("#generate-prompt textarea"), page.locator("#progress [data-text]")
    prompt.fill("what I had")
    open_fold(page, "generate-diffusion")
    page.locator("#generate-inference-steps input").fill("2")
    bar(page, "Simple")
    expect(prompt).to_be_hidden()
    expect(page.locator("#dock .run:visible")).to_have_text(re.compile(r"Draft · Generate · about \d+ (s|min)"))
    page.locator("#inspire-query textarea").fill(f"{NASTY}, 12 seconds")  # which counts more than the field
    page.locator(".chips button", has_text="10 s").click()
    shoot(page, "simple")
    page.locator("#run-simple").click()
    expect(page.locator("#cancel")).to_be_visible()
    expect(page.locator("#song-title h2")).to_have_text(
        re.compile(r"^tender jazz about <b>snow</b> .* · 0:12 · seed \d+$"), timeout=SONG_MS
    )
    expect(page.locator("#run-simple")).to_be_visible()
    bar(page, "Full")
    expect(prompt).to_have_value(re.compile(r"^tender jazz about <b>snow</b> .*walking bass"))
    lyrics = page.locator("#generate-lyrics textarea")
    expect(lyrics).to_have_value(re.compile(r"^\[verse\](\n[^\[\n]+){4}$"))  # as many words as twelve seconds can hold
    expect(page.locator("#draft-line p")).to_contain_text("Filled in style prompt, lyrics, tempo, key, metre")
    page.locator("#share button").click()
    link = page.locator("#share input")
    expect(link).to_have_value(re.compile(rf"^{app.url}/#s=1\.[\w-]+$"))
    page.locator("#undo-draft").click()
    expect(prompt).to_have_value("what I had")
    expect(page).to_have_title("ACE Music Studio")

    other = new_context(viewport={"width": 390, "height": 844}).new_page()
    other.goto(link.input_value())
    expect(other.locator("#progress .recalled p")).to_have_text("The settings of the link are in the form.")
    expect(other.locator("#generate-prompt textarea")).to_have_value(re.compile("^tender jazz about <b>snow</b>"))
    expect(other.locator("#generate-seed input")).to_have_value(re.compile(r"^\d+$"))
    expect(other.locator("#generate-duration-s input")).to_have_value("12")
    assert "#" not in other.url
    assert other.evaluate("document.documentElement.scrollWidth") == 390
    expect(other).to_have_title("ACE Music Studio")
    other.evaluate("location.hash = 's=1.AAAA'")
    expect(other.locator("#progress .line p")).to_have_text(re.compile("^The link cannot be read"))
    expect(said).not_to_be_empty()


def test_what_was_typed_and_saved_survives_a_reload_and_starting_anew_can_be_undone(page: Page) -> None:
    prompt, bpm = page.locator("#generate-prompt textarea"), page.locator("#generate-bpm input")
    bar(page, "Late jazz")
    expect(prompt).to_have_value(re.compile("^jazz, Rhodes comping"))
    expect(page.locator("#generate-duration-s input")).to_have_value("60")
    expect(page.locator("#generate-instrumental input")).to_be_checked()
    open_fold(page, "generate-music")
    bpm.fill("77")
    presets = page.locator("#generate-start .presets")
    presets.locator("summary").click()
    presets.get_by_label("Name of a new preset").fill(NASTY[:40])
    presets.get_by_role("button", name="Save").click()
    expect(presets.locator("li .apply")).to_have_text(NASTY[:40])
    page.keyboard.press("Escape")
    expect(presets.locator("summary")).to_be_focused()
    bar(page, "Random idea")
    expect(prompt).not_to_have_value(re.compile("^jazz, Rhodes comping"))
    expect(page.locator("#progress .recalled p")).to_have_text("An idea is in the form.")
    page.locator("#progress .recalled button").click()
    expect(prompt).to_have_value(re.compile("^jazz, Rhodes comping"))
    prompt.fill("typed by hand")
    page.wait_for_function(f"{KEPT}.generate?.prompt === 'typed by hand'", timeout=1000 * PATIENCE_S)

    page.reload()
    expect(prompt).to_have_value("typed by hand")
    come_to_rest(page)
    open_fold(page, "generate-music")
    expect(bpm).to_have_value("77")
    expect(page.locator("#generate-keyscale input")).to_have_value("auto")
    bar(page, "Start anew")
    expect(prompt).to_have_value("")
    expect(bpm).to_have_value("")
    page.wait_for_function(f"Object.keys({KEPT}.generate).length === 0", timeout=1000 * PATIENCE_S)
    page.locator("#progress .recalled button").click()
    expect(prompt).to_have_value("typed by hand")
    expect(bpm).to_have_value("77")
    presets.locator("summary").click()
    presets.locator("li .apply").click()
    expect(prompt).to_have_value(re.compile("^jazz, Rhodes comping"))
    expect(bpm).to_have_value("77")
    presets.locator("summary").click()
    presets.get_by_role("button", name=re.compile("^Rename")).click()
    presets.get_by_label("New name").fill("night")
    presets.get_by_label("New name").press("Enter")
    expect(presets.locator("li .apply")).to_have_text("night")
    shoot(page, "presets")
    presets.get_by_role("button", name="Delete night").click()
    expect(presets.locator("li")).to_have_count(0)
    presets.get_by_role("button", name="Undo").click()
    expect(presets.locator("li .apply")).to_have_text("night")

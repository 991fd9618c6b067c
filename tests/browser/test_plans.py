"""Plans as a person meets them: made without a song, edited, followed, shown with the song and taken up again."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.browser.conftest import open_fold, shoot

NASTY = "lofi <b>rain</b> ${document.title='owned'} {{value}}"


def quick(page: Page, prompt: str) -> None:
    """A short song of few steps, so that a test need not wait."""
    page.locator("#generate-prompt textarea").fill(prompt)
    page.locator(".chips button", has_text="10 s").click()
    open_fold(page, "generate-diffusion")
    page.locator("#generate-inference-steps input").fill("2")


def test_a_plan_is_made_edited_and_followed_and_reused_from_the_song(page: Page) -> None:
    quick(page, NASTY)
    open_fold(page, "generate-plan")
    box = page.locator("#generate-plan textarea")
    page.locator("#plan-only").click()
    expect(page.locator("#progress [data-text]")).to_have_text(re.compile("^planned · composer"))
    expect(box).to_have_value(re.compile(r"^bpm: \d+\ncaption: lofi <b>rain</b> .*\nduration: 10\n"))
    expect(page.locator("#plan-line p")).to_contain_text("composer · lofi, ")
    expect(page.locator("#no-song")).to_be_visible()
    box.fill(re.sub(r"bpm: \d+", "bpm: 137", box.input_value()))
    page.locator("#run-generate").click()
    expect(page.locator("#song-title h2")).to_contain_text("0:10 · seed")
    open_fold(page, "plan")
    text = page.locator("#plan-text pre")
    expect(text).to_contain_text("bpm: 137\ncaption: lofi <b>rain</b>", use_inner_text=True)
    assert text.locator("*").count() == 0
    expect(page).to_have_title("ACE Music Studio")
    shoot(page, "plan")
    page.locator("#clear-plan").click()
    expect(box).to_have_value("")
    open_fold(page, "generate-music")
    page.locator("#generate-bpm input").fill("90")
    page.locator("#reuse-plan").click()
    expect(page.locator("#generate-bpm input")).to_have_value("")  # the plan speaks of the tempo now
    expect(page.locator("#generate-duration-s input")).to_have_value("10")
    expect(box).to_have_value(text.inner_text())
    assert "bpm: 137" in box.input_value()


def test_a_plan_that_cannot_be_read_is_told_at_its_field(page: Page) -> None:
    quick(page, "folk")
    open_fold(page, "generate-plan")
    page.locator("#generate-plan textarea").fill("bpm: quick")
    page.locator("#plan-only").click()
    expect(page.locator("#generate-plan .fault-text")).to_contain_text("Plan must have a bpm from 30 to 300")
    expect(page.locator("#generate-plan textarea")).to_have_value("bpm: quick")
    expect(page.locator("#run-generate")).to_be_visible()


def test_the_plan_fits_on_a_phone(phone: Page) -> None:
    open_fold(phone, "generate-plan")
    phone.locator("#generate-plan textarea").fill(f"caption: {'x' * 300}\n")
    assert phone.evaluate("document.documentElement.scrollWidth") == 390
    for name in ("plan-only", "clear-plan"):
        box = phone.locator(f"#{name}").bounding_box()
        assert box is not None and box["height"] >= 44 and box["x"] + box["width"] <= 390
    size = "e => parseFloat(getComputedStyle(e).fontSize)"
    assert phone.locator("#generate-plan textarea").evaluate(size) >= 16
    shoot(phone, "phone-plan")

"""Drafts as a person meets them: the form is filled, says by whom, and is put back as it was."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Page, expect

from tests.browser.conftest import open_fold, shoot

NASTY = "lofi <b>rain</b> ${document.title='owned'} {{value}}"
MUSIC = ("bpm", "keyscale", "timesignature")


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A minor at 120 beats per minute."""
    time = np.arange(8 * 48_000) / 48_000
    chord = sum(np.sin(2 * np.pi * hertz * time) for hertz in (220.0, 261.63, 329.63))
    click = ((2 * time) % 1 < 0.02) * np.sin(2 * np.pi * 220 * time)
    path = tmp_path / "chord.wav"
    soundfile.write(path, (0.1 * chord + 0.5 * click).astype(np.float32), 48_000)
    return path


def music(page: Page) -> list[str]:
    return [page.locator(f"#generate-{name} input").input_value() for name in MUSIC]


def line(page: Page, words: str) -> None:
    expect(page.locator("#draft-line p")).to_contain_text(words)


def test_a_line_fills_the_form_and_undo_puts_back_what_was_there(page: Page) -> None:
    prompt, lyrics = page.locator("#generate-prompt textarea"), page.locator("#generate-lyrics textarea")
    undo = page.locator("#undo-draft")
    open_fold(page, "generate-music")
    prompt.fill("what I had")
    lyrics.fill("mine")
    page.locator("#generate-bpm input").fill("93")
    expect(undo).to_be_disabled()
    page.locator("#generate-start").get_by_role("button", name="Simple").click()
    expect(prompt).to_be_hidden()
    page.locator("#inspire-query textarea").fill(NASTY)
    page.locator("#draft-inspire").click()
    line(page, "Filled in style prompt, lyrics, tempo, key, metre, length · built-in drafter · seed")
    expect(prompt).to_have_value(
        re.compile(r"^lofi <b>rain</b> \$\{document.title='owned'\} \{\{value\}\}, warm Rhodes")
    )
    expect(lyrics).to_have_value(re.compile(r"^\[verse\]\n.+\n\[chorus\]\n", re.DOTALL))
    expect(page.locator("#generate-duration-s input")).to_have_value("56")
    assert "auto" not in music(page)
    expect(page).to_have_title("ACE Music Studio")
    expect(page.locator("#generate-vocal-language input")).to_have_value("auto")  # nano sings no words
    shoot(page, "draft")
    page.locator("#draft-enhance").click()
    line(page, "it has nothing to add")
    undo.click()
    line(page, "The form is as it was before the draft. 1 more can be undone.")
    expect(prompt).to_have_value(re.compile("warm Rhodes"))
    undo.click()
    expect(page.locator("#draft-line p")).to_have_text("The form is as it was before the draft.")
    expect(prompt).to_have_value("what I had")
    expect(lyrics).to_have_value("mine")
    expect(page.locator("#generate-duration-s input")).to_have_value("30")
    assert music(page) == ["93", "auto", "auto"]
    expect(undo).to_be_disabled()


def test_what_stands_in_the_form_is_enhanced_and_its_facts_stay(page: Page) -> None:
    open_fold(page, "generate-music")
    page.locator("#generate-bpm input").fill("60")
    page.locator("#generate-prompt textarea").fill("techno")
    page.locator("#generate-lyrics textarea").fill("one\ntwo\n\nthree\nfour")
    page.locator("#draft-enhance").click()
    line(page, "Filled in style prompt, lyrics")
    expect(page.locator("#generate-prompt textarea")).to_have_value(re.compile("^techno, saw synth stabs.*, slow$"))
    expect(page.locator("#generate-lyrics textarea")).to_have_value("[verse]\none\ntwo\n\n[verse]\nthree\nfour")
    assert music(page) == ["60", "auto", "auto"]
    page.locator("#generate-lyrics textarea").fill("changed since")
    page.locator("#undo-draft").click()
    line(page, "The form is as it was before the draft but for what you changed since: lyrics.")
    expect(page.locator("#generate-prompt textarea")).to_have_value("techno")
    expect(page.locator("#generate-lyrics textarea")).to_have_value("changed since")


def test_a_recording_is_understood_and_the_form_takes_its_tempo_and_key(page: Page, recording: Path) -> None:
    open_fold(page, "generate-music")
    open_fold(page, "understand")
    page.locator("#understand-src-audio input[type=file]").set_input_files(recording)
    expect(page.locator("#understand-src-audio .waveform-container")).to_be_visible()
    page.locator("#draft-understand").click()
    line(page, "Filled in tempo, key · by listening")
    assert music(page) == ["120", "A minor", "auto"]
    expect(page.locator("#progress [data-text]")).to_have_text("drafted · by listening · 120 bpm · A minor")
    shoot(page, "understood")


def test_a_draft_of_nothing_is_told_at_its_field(page: Page) -> None:
    page.locator("#draft-enhance").click()
    said = "Style prompt must not be empty when the lyrics are empty too."
    expect(page.locator("#generate-prompt .fault-text")).to_have_text(said)
    expect(page.locator("#run-generate")).to_be_visible()
    expect(page.locator("#draft-line p")).to_have_text("")
    expect(page.locator("#undo-draft")).to_be_disabled()


def test_on_a_phone_the_tools_of_drafts_fit_and_are_reached_by_thumb_and_key(phone: Page) -> None:
    open_fold(phone, "understand")
    start = phone.locator("#generate-start")
    for size, names in (("Full", ("understand", "enhance")), ("Simple", ("inspire",))):
        start.get_by_role("button", name=size).click()
        assert phone.evaluate("document.documentElement.scrollWidth") == 390
        for name in names:
            box = phone.locator(f"#draft-{name}").bounding_box()
            assert box is not None and box["height"] >= 44 and box["x"] + box["width"] <= 390
    for button in start.get_by_role("button").all():
        box = button.bounding_box()
        assert box is not None and box["height"] >= 44
    field = phone.locator("#inspire-query textarea")
    assert field.evaluate("e => parseFloat(getComputedStyle(e).fontSize)") >= 16
    field.focus()
    phone.keyboard.press("Tab")
    expect(phone.locator("#draft-inspire")).to_be_focused()
    expect(phone.locator("#draft-inspire")).to_have_css("outline", "rgb(255, 255, 255) solid 2px")
    shoot(phone, "phone-drafts")

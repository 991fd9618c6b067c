"""The result beside the form and the history: what fits, where the page goes, and whose song is shown."""

from __future__ import annotations

import numpy as np
from playwright.sync_api import Page, expect

from library.records import Record, Track
from library.tracks import Library
from tests.browser.conftest import come_to_rest, open_fold

SIZES = ((1440, 900), (1024, 768), (390, 844))
LONG = "warm Rhodes chords over dusty drums and rain on the window " * 20


def save(library: Library, title: str, **facts: object) -> Track:
    silence = np.zeros((2, 48_000 * 12), np.float32)
    values = {"prompt": title, "seed": 7, "bpm": 77, "duration_s": 12}
    given = {"mode": "generate", "title": title, "checkpoint": "nano", "seed": 7, "values": values} | facts
    return library.save(silence, None, Record(**given))  # type: ignore[arg-type]


def come_back(page: Page, songs: int) -> None:
    """Reload the page, and wait for its history."""
    page.reload()
    expect(page.locator("#history label").nth(songs - 1)).to_be_attached()
    come_to_rest(page)


def recall(page: Page, words: str) -> None:
    page.locator("#history label", has_text=words).first.click()
    expect(page.locator("#song-title h2")).to_contain_text(words)


def test_a_full_history_scrolls_and_long_metadata_stay_in_their_box(page: Page, library: Library) -> None:
    for number in range(14):
        save(library, f"song {number} {LONG}")
    come_back(page, 14)
    recall(page, "song 13")
    open_fold(page, "metadata")
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        rows = page.locator("#history label").evaluate_all("rows => rows.map(row => row.offsetHeight)")
        assert min(rows) >= 32
        text, button = page.locator("#metadata"), page.locator("#sidecar")
        assert text.evaluate("e => e.scrollWidth <= e.clientWidth + 1")
        last = text.locator(".json-node .line").last
        last.scroll_into_view_if_needed()
        expect(last).to_be_in_viewport()
        button.scroll_into_view_if_needed()
        inside, below = text.bounding_box(), button.bounding_box()
        assert inside is not None and below is not None
        assert text.evaluate(
            "e => [...e.querySelectorAll('.json-holder')].every(x => x.offsetHeight <= e.offsetHeight)"
        )
        assert inside["y"] + inside["height"] <= below["y"]
        button.click(trial=True)  # nothing lies over it


def test_on_a_phone_the_page_moves_to_what_happens_and_the_player_stays_in_reach(phone: Page, library: Library) -> None:
    save(library, "a song to edit")
    come_back(phone, 1)
    recall(phone, "a song to edit")
    large, small = phone.locator("#player"), phone.locator("#small-player")
    expect(large).to_be_in_viewport(ratio=1)
    expect(phone.locator("#song-title")).to_be_in_viewport(ratio=1)
    expect(small).to_be_hidden()
    phone.locator("#send-edit").click()
    expect(phone.locator("#edit-form .heading h2")).to_be_in_viewport(ratio=1)
    expect(small).to_be_in_viewport(ratio=1)
    expect(small).to_contain_text("a song to edit")
    small.get_by_label("Play").click()
    expect(large.get_by_label("Pause")).to_be_attached()
    small.get_by_label("Pause").click()
    expect(large.get_by_label("Play", exact=True)).to_be_attached()
    small.locator(".title").click()
    expect(large).to_be_in_viewport(ratio=1)
    phone.locator("#retake").click()
    for there in ("#progress", "#cancel"):
        expect(phone.locator(there)).to_be_in_viewport(ratio=1)
    phone.locator("#cancel").click()
    expect(phone.locator("#run-edit")).to_be_in_viewport(ratio=1)
    pick = phone.locator("#modes label", has_text="Lyrics")
    pick.click()
    phone.locator("#lyrics-brief textarea").fill("rain on a tin roof")
    phone.locator("#run-lyrics").click()
    expect(phone.locator("#draft textarea")).to_be_in_viewport()
    phone.wait_for_function("""() => {
        scrollTo(0, 1e6);
        const edge = (name, side) => document.querySelector(name).getBoundingClientRect()[side];
        return edge("footer", "bottom") <= edge("#dock", "top") + 1;
    }""")


def test_a_recalled_song_leaves_the_seed_open_and_can_be_undone_but_for_later_edits(
    page: Page, library: Library
) -> None:
    source = save(library, "an older song")
    save(library, "an old song")
    stretch = {"segment_start_s": 1, "segment_end_s": 2.5, "src_audio": str(source.path.resolve())}
    save(library, "an edit", mode="edit", values=stretch)
    come_back(page, 3)
    prompt, lyrics = page.locator("#generate-prompt textarea"), page.locator("#generate-lyrics textarea")
    open_fold(page, "generate-diffusion")
    seed = page.locator("#generate-seed input")
    prompt.fill("my own words")
    seed.fill("5")
    recall(page, "an older song")
    recall(page, "an old song")
    expect(prompt).to_have_value("an old song")
    expect(seed).to_have_value("")
    lyrics.fill("by hand")
    page.get_by_label("Undo the recall").click()
    expect(prompt).to_have_value("my own words")
    expect(seed).to_have_value("5")
    expect(lyrics).to_have_value("by hand")
    expect(page.get_by_label("Undo the recall")).to_be_hidden()
    page.locator("#lock").click()
    expect(seed).to_have_value("7")
    recall(page, "an older song")
    expect(prompt).to_have_value("an older song")
    expect(seed).to_have_value("7")
    recall(page, "an edit")
    expect(page.locator("#edit-form .region p")).to_have_text("0:01.0 – 0:02.5 of 0:12.0")
    expect(page.locator("#edit-segment-end-s input")).to_have_value("2.5")


def test_a_song_that_is_done_leaves_a_recalled_one_in_the_pane_and_the_history_is_new_when_the_page_comes_to_the_front(
    page: Page, library: Library
) -> None:
    save(library, "an old song")
    come_back(page, 1)
    rows = page.locator("#history label")
    page.locator("#generate-prompt textarea").fill("the new one")
    page.locator(".chips button", has_text="10 s").click()
    page.locator("#run-generate").click()
    expect(page.locator("#cancel")).to_be_visible()
    recall(page, "an old song")
    expect(page.locator("#progress .line")).to_contain_text("first in the history")
    expect(rows.first).to_contain_text("the new one")
    expect(page.locator("#song-title h2")).to_contain_text("an old song")
    expect(page.locator("#history label.selected")).to_contain_text("an old song")
    save(library, "made in another tab")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(rows.first).to_contain_text("made in another tab")
    expect(page.locator("#history label.selected")).to_contain_text("an old song")

"""The Library as a person meets it: hundreds of songs, found, heard, named, favoured, deleted and brought back."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
from playwright.sync_api import BrowserContext, Locator, Page, expect

from library.tracks import Library
from tests.browser.conftest import DESK, FULL_FORM, NewContext, come_to_rest
from tests.browser.test_page import NAMELESS, NASTY
from tests.conftest import ROOT, App, serving
from tests.shelves import fill

SONGS = 300


@pytest.fixture
def shelf(app: App) -> Iterator[Library]:
    """The studio's library with many songs and no others, and without them in the end."""
    _empty(app.outputs)
    yield fill(app.outputs, SONGS)
    _empty(app.outputs)


def _empty(folder: Path) -> None:
    """Leave nothing in a folder, of the songs of other tests either."""
    for path in folder.glob("*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    """A recording of two seconds."""
    path = tmp_path / "old tape.wav"
    soundfile.write(path, np.random.default_rng(1).uniform(-0.5, 0.5, (96_000, 2)), 48_000)
    return path


def open_library(page: Page) -> Locator:
    """The rows of the view, which is open then."""
    page.locator("#modes label", has_text="Library").click()
    expect(page.locator("#library .told p")).not_to_be_empty()
    return page.locator("#library .row")


def says(page: Page, words: str) -> None:
    expect(page.locator("#library .told p")).to_contain_text(words)


def test_songs_are_found_heard_named_favoured_and_deleted_and_come_back(page: Page, shelf: Library, tape: Path) -> None:
    rows = open_library(page)
    says(page, f"{SONGS} songs")
    expect(rows).to_have_count(60)
    assert rows.first.locator("path").get_attribute("d").count("M") > 60  # type: ignore[union-attr]
    page.locator("#library .more").click()
    expect(rows).to_have_count(120)
    search = page.get_by_label("Search")
    search.fill("uberdruss window")
    says(page, "60 songs")
    page.locator("#library .weights").select_option("xl-sft")
    says(page, "20 songs")
    page.get_by_role("button", name="Favourites", exact=True).click()
    says(page, "3 songs")
    for row in rows.all():
        expect(row).to_contain_text("polka")
    search.fill("xylophone")
    says(page, "No song is like that.")
    search.fill("")
    page.get_by_role("button", name="Favourites", exact=True).click()
    page.locator("#library .weights").select_option("")
    says(page, f"{SONGS} songs")

    # by the keyboard alone, from the first row
    rows.first.focus()
    page.keyboard.press("ArrowDown")
    expect(rows.nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#song-title h2")).to_contain_text("song 298, hard techno")
    expect(page.locator("#library")).to_be_visible()
    page.keyboard.press("f")
    expect(rows.nth(1).locator(".star")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("F2")
    page.keyboard.type(NASTY)
    page.keyboard.press("Enter")
    expect(rows.nth(1).locator(".name")).to_have_text(NASTY)
    expect(page.locator("#history label").nth(1)).to_contain_text("<b>rain</b>")
    expect(rows.nth(1)).to_be_focused()
    page.keyboard.press("Delete")
    says(page, f"{NASTY} was deleted.")
    expect(rows.nth(1)).to_be_focused()
    expect(rows.nth(1)).to_contain_text("song 297")
    assert len(shelf.list()) == SONGS - 1
    page.get_by_role("button", name="Undo", exact=True).click()
    says(page, f"{SONGS} songs")
    (back,) = [track for track in shelf.list() if track.seed == 298]
    assert (back.name, back.favourite) == (NASTY, True)

    # its settings are in its form, and more stands in a row's menu
    rows.nth(1).get_by_label("More about").click()
    page.get_by_role("menuitem", name="Same samples again?").click()
    expect(rows.nth(1).locator(".answer")).to_contain_text("Same samples: no, because")
    rows.nth(1).get_by_label("More about").click()
    page.get_by_role("menuitem", name="Settings in the form").click()
    expect(page.locator("#generate-prompt textarea")).to_have_value("song 298, hard techno")
    come_to_rest(page)
    rows = open_library(page)
    page.locator("#library .files").set_input_files(tape)
    says(page, "old tape is in the library.")
    expect(rows.first).to_contain_text("Recording · 0:02")
    rows.first.click()
    expect(page.locator("#song-title h2")).to_have_text("old tape · 0:02 · a recording")
    expect(page.locator("#retake")).to_be_disabled()
    page.locator("#send-cover").click()
    expect(page.locator("#cover-form")).to_be_visible()
    assert page.title() == "ACE Music Studio"

    # a bound says what would go, and takes it with consent alone
    rows = open_library(page)
    bound = page.get_by_label("At most, in GB")
    bound.fill("0.08")
    bound.press("Enter")
    prune = page.get_by_role("button", name="oldest songs")
    expect(prune).to_be_visible()
    words = prune.inner_text()
    assert len(shelf.list()) == SONGS + 1
    prune.click()
    count = int(re.findall(r"\d+", words)[0])
    says(page, f"{count} songs were deleted.")
    expect(prune).to_be_hidden()
    left = shelf.list()
    assert len(left) == SONGS + 1 - count and all(track.favourite for track in left[-2:])
    page.get_by_role("button", name="Undo", exact=True).click()
    says(page, f"{SONGS + 1} songs · {count} songs came back.")
    bound.fill("")
    bound.press("Enter")
    expect(prune).to_be_hidden()


def test_on_a_phone_the_library_fits_and_is_reached_by_thumb(phone: Page, shelf: Library) -> None:
    shelf.rename(shelf.newest(1)[0].id, "a name that is far too long for one line on a phone " * 3)
    rows = open_library(phone)
    expect(rows.first).to_contain_text("a name that is far too long")
    assert phone.evaluate("document.documentElement.scrollWidth") == 390
    small = """buttons => buttons.filter(e => e.checkVisibility()).map(e => e.getBoundingClientRect())
        .filter(({ width, height }) => width < 43.5 || height < 43.5).length"""
    assert phone.locator("#library button, #library input, #library select").evaluate_all(small) == 0
    assert phone.locator("#library :is(button, input, select)").evaluate_all(NAMELESS) == []
    rows.nth(1).click()
    expect(phone.locator("#player")).to_be_in_viewport(ratio=1)


def test_strangers_share_no_songs_and_the_tabs_of_one_browser_share_all(
    new_context: NewContext, tmp_path: Path, tape: Path
) -> None:
    (tmp_path / "home").mkdir()
    with serving(tmp_path / "home", ROOT / "app.py", "--host", "0.0.0.0") as shared:
        fill(shared.outputs, 3)
        mine, stranger = new_context(viewport=DESK), new_context(viewport=DESK)
        first, second = came(mine, shared), came(mine, shared)
        for tab in (first, second):
            open_library(tab)
            says(tab, "No songs yet.")
        bring(first, tape)
        expect(second.locator("#history label")).to_have_count(1)
        bring(second, tape.rename(tape.with_stem("new tape")))
        expect(first.locator("#history label")).to_have_count(2)
        first.bring_to_front()
        first.evaluate("dispatchEvent(new Event('focus'))")
        expect(first.locator("#library .row")).to_have_count(2)
        expect(first.locator("#library .bound")).to_be_hidden()
        first.reload()
        expect(first.locator("#history label")).to_have_count(2)
        (newest,) = Library(shared.outputs).newest(1)
        served = {
            name: httpx.get(f"{shared.url}/gradio_api/file={shared.outputs}/{name}").status_code
            for name in ("index.sqlite", f"{newest.id}.wav")
        }
        assert served == {"index.sqlite": 403, f"{newest.id}.wav": 403}
        other = came(stranger, shared)
        open_library(other)
        says(other, "No songs yet.")
        for page in (first, second, other):
            page.close()


def came(context: BrowserContext, app: App) -> Page:
    """The page in a new tab."""
    page = context.new_page()
    page.add_init_script(FULL_FORM)
    page.goto(app.url)
    expect(page.locator("#run-generate")).to_be_visible()
    come_to_rest(page)
    return page


def bring(page: Page, recording: Path) -> None:
    page.locator("#library .files").set_input_files(recording)
    says(page, f"{recording.stem} is in the library.")

"""What axe-core finds in the page, whether it fits every width, and whether anything jumps."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, ViewportSize, expect

import tooltips
from core.params import MODES
from library.tracks import Library
from tests.browser.conftest import DESK, PHONE, come_to_rest
from tests.browser.test_page import SONG_MS, quick
from tests.browser.test_pane import come_back, recall, save
from ui.page import FIRST

WIDTHS = (320, 390, 641, 769, 1025, 1440, 1920)
"""The narrowest and the widest, and one for each layout between them."""

WHOLE = (FIRST, "lyrics")
"""The views between which they change all of the page; the others change the middle of it."""

JUMPS = """() => {
  window.jumps = [];
  const seen = (list) => list.getEntries().forEach(({ value, hadRecentInput, sources }) => {
    if (!hadRecentInput) jumps.push([value, sources.map(({ node }) => node?.id || node?.className).join()]);
  });
  new PerformanceObserver(seen).observe({ type: "layout-shift" });
}"""
"""Keeps every shift of the layout from now on that no input explains in `jumps`, with what has moved."""

axe = Axe()


def violations(page: Page, part: str | None = None) -> list[tuple[str, str]]:
    """(rule, element) of what axe finds in the page or a part of it: by its rules for WCAG 2 and of good practice."""
    found = axe.run(page, part).response["violations"]
    return [(rule["id"], node["html"]) for rule in found for node in rule["nodes"]]


def open_folds(page: Page, pane: str) -> None:
    page.locator(pane).evaluate("e => e.querySelectorAll('.gr-accordion > button:not(.open)').forEach(b => b.click())")
    come_to_rest(page)


def too_narrow(page: Page) -> list[int]:
    """The widths at which the page has to be scrolled sideways."""
    found = []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        if page.evaluate("document.documentElement.scrollWidth") > width:
            found.append(width)
    return found


def faults_in(page: Page, *sizes: ViewportSize, part: str | None = None) -> dict[str, object]:
    """What is wrong with the page as it stands: to axe at these sizes, in a part of it, and at every width."""
    found: dict[str, object] = {"narrow": too_narrow(page)}
    for size in sizes:
        page.set_viewport_size(size)
        found[f"axe at {size['width']}"] = violations(page, part)
    return {name: faults for name, faults in found.items() if faults}


def test_axe_finds_nothing_in_any_mode_or_view_and_each_fits_every_width(
    page: Page,
    library: Library,
) -> None:
    title = "a song with words " + "unbroken" * 20
    save(library, title, values={"lyrics": "[verse]\nrain", "prompt": title})
    come_back(page, 1)
    recall(page, "a song with words")
    open_folds(page, "#song")
    faults: dict[str, object] = {}
    for view in page.locator("#modes input").evaluate_all("fields => fields.map(field => field.value)"):
        page.locator(f"#modes label:has([value={view}])").click()
        expect(page.locator(f"#modes input[value={view}]")).to_be_checked()
        if view in MODES:
            expect(page.locator(f"#{view}-form")).to_be_visible()
            open_folds(page, f"#{view}-form")
        # A phone puts the same parts one below the other: what it adds of its own is in the first of the forms.
        sizes = (PHONE, DESK) if view == FIRST else (DESK,)
        found = faults_in(page, *sizes, part=None if view in WHOLE else "#work")
        faults |= {f"{view}: {name}": fault for name, fault in found.items()}
    page.locator("#modes label", has_text=tooltips.MODES["cover"][0]).click()
    page.locator("#run-cover").click()
    expect(page.locator("#cover-src-audio .fault-text")).to_be_visible()
    if refused := violations(page, "#work"):
        faults["refused"] = refused
    page.locator("#action-stems").click()
    expect(page.locator(".toast-body")).to_have_css("opacity", "1")  # it fades in, and is gone again soon
    if message := violations(page, ".toast-body"):
        faults["a message"] = message
    assert not faults, "\n".join(f"{where}: {found}" for where, found in faults.items())


def test_nothing_jumps_when_a_song_comes(page: Page) -> None:
    page.locator("#generate-prompt textarea").fill("quiet fugue")
    page.locator(".chips button", has_text="10 s").click()
    quick(page)
    for size in (DESK, PHONE):
        page.set_viewport_size(size)
        come_to_rest(page)
        page.evaluate(JUMPS)
        before = page.locator("#history label").count()
        page.locator("#run-generate").click()
        expect(page.locator("#history label")).to_have_count(before + 1, timeout=SONG_MS)
        expect(page.locator("#run-generate")).to_be_visible()
        come_to_rest(page)
        jumps = page.evaluate("jumps")
        assert sum(value for value, _ in jumps) < 0.02, jumps

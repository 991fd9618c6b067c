"""The two looks: as the system wishes or as the switch says, from the first paint on, and legible in both."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

from core.params import MODES
from tests.browser.conftest import come_to_rest, open_fold, shoot

CONTRAST = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")

FIRST_LOOKS = """
new MutationObserver(() => {
  const look = document.documentElement.dataset.look;
  if (document.body) (window.looks ??= []).push(look);
}).observe(document, { childList: true, subtree: true, attributes: true });
"""
"""Keeps which look the page has from the moment on when there is anything to paint."""


FADED = "Promise.allSettled(document.getAnimations().map((each) => each.finished)).then(() => true)"
"""Waits until every colour that fades into another one has done so."""


def ground(page: Page) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def test_the_look_is_the_systems_or_the_one_chosen_from_the_first_paint_and_both_are_legible(page: Page) -> None:
    root, switch = page.locator("html"), page.locator("#look select")
    expect(root).to_have_attribute("data-look", "dark")
    assert ground(page) == "rgb(10, 10, 10)"
    page.emulate_media(color_scheme="light")
    expect(root).to_have_attribute("data-look", "light")
    assert ground(page) == "rgb(245, 245, 245)"
    for mode in MODES:
        page.locator(f'#modes input[value="{mode}"]').check(force=True)
        expect(page.locator(f"#{mode}-form")).to_be_visible()
        open_fold(page, f"{mode}-writer" if mode == "lyrics" else f"{mode}-diffusion")
        page.evaluate(FADED)
        assert page.evaluate(CONTRAST) == []
        shoot(page, f"light-{mode}")
    switch.select_option("dark")
    page.evaluate(FADED)
    assert page.evaluate(CONTRAST) == []
    assert ground(page) == "rgb(10, 10, 10)"
    switch.select_option("light")
    page.emulate_media(color_scheme="dark")
    page.add_init_script(FIRST_LOOKS)
    page.reload()
    expect(page.locator("#run-generate")).to_be_visible()
    come_to_rest(page)
    assert set(page.evaluate("looks")) == {"light"}
    expect(switch).to_have_value("light")
    assert ground(page) == "rgb(245, 245, 245)"

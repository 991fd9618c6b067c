"""A page of the running studio in Chromium, watched for whatever goes wrong in it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request, ViewportSize, expect

from library.tracks import Library
from tests.browser.chromium import find_chromium
from tests.conftest import ROOT, App
from ui.gradio_start import import_gradio

import_gradio()  # before a test imports it by itself, which takes twice as long

FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-quic", "--force-prefers-reduced-motion", "--hide-scrollbars", "--font-render-hinting=none"),
]
DESK: ViewportSize = {"width": 1280, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}
SCREENS = ROOT / "test-results" / "screens"
PATIENCE_S = 60
"""How long the page may take to show what it should, on a machine that is slow and busy."""

AT_REST = """() => new Promise(done => {
  const values = () => [...document.querySelectorAll("input, textarea")].map(field => field.value).join("\\n");
  let before = values(), frames = 0;
  const look = () => {
    const now = values();
    frames = now === before ? frames + 1 : 0;
    before = now;
    frames < 10 ? requestAnimationFrame(look) : done();
  };
  requestAnimationFrame(look);
})"""
"""Resolves when no field has changed for ten frames."""

FULL_FORM = """
localStorage.getItem("ace-music-studio-form-size") ?? localStorage.setItem("ace-music-studio-form-size", '"full"');
"""
"""Lets a browser that is new begin with the full form: most tests are about what a newcomer does not see."""

expect.set_options(timeout=1000 * PATIENCE_S)


class NewContext(Protocol):
    """Makes a browser window of its own."""

    def __call__(self, **options: object) -> BrowserContext: ...


class Watch:
    """Collects what goes wrong in a page: console errors, exceptions, failed requests, requests to other machines."""

    def __init__(self, page: Page, home: str) -> None:
        self.problems: list[str] = []
        self._left = False
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.problems.append(f"exception: {error}"))
        page.on("requestfailed", self._request_failed)
        page.context.route(re.compile(f"^(?!{re.escape(home)}/|data:|blob:)"), lambda route: route.abort())

    def _console(self, message: ConsoleMessage) -> None:
        # A value that its validator refuses is answered with 422, which the browser reports by itself.
        # When it is left in mid-job, Gradio tells of the stream that it closes itself, and of its end.
        self._left |= message.text.startswith("AbortError: signal is aborted without reason")
        of_leaving = message.text.startswith(("AbortError", "Unexpected error Connection errored out."))
        harmless = "status of 422" in message.text or (self._left and of_leaving)
        if message.type == "error" and not harmless:
            self.problems.append(f"console: {message.text}")

    def _request_failed(self, request: Request) -> None:
        # Aborted is what the page gives up itself: when it is left, reloaded, or turns a link into a download.
        if request.failure != "net::ERR_ABORTED":
            self.problems.append(f"request: {request.method} {request.url} {request.failure}")


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, object]:
    """How Chromium is started. Without one the tests are skipped, and fail where nobody would notice."""
    chromium = find_chromium()
    if chromium is None:
        reason = "no Chrome or Chromium is installed: ./studio test installs one where it may"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    return {"executable_path": str(chromium), "args": FLAGS}


@pytest.fixture(scope="session")
def browser_context_args() -> dict[str, object]:
    """The page must not depend on movement or on a service worker; it is looked at in the dark."""
    return {"reduced_motion": "reduce", "service_workers": "block", "color_scheme": "dark"}


@pytest.fixture
def page(new_context: NewContext, app: App) -> Iterator[Page]:
    """The open page at a desk's size; fails in the end if anything went wrong in it."""
    yield from watched(new_context(viewport=DESK), app)


@pytest.fixture
def phone(new_context: NewContext, app: App) -> Iterator[Page]:
    """The open page on a phone."""
    yield from watched(new_context(viewport=PHONE, is_mobile=True, has_touch=True, device_scale_factor=2), app)


def watched(context: BrowserContext, app: App) -> Iterator[Page]:
    """The open page of that studio in a new window; fails in the end if anything went wrong in it."""
    page = context.new_page()
    page.context.add_init_script(FULL_FORM)
    watch = Watch(page, app.url)
    page.goto(app.url)
    expect(page.locator("#run-generate")).to_be_visible()
    come_to_rest(page)
    yield page
    assert watch.problems == []


@pytest.fixture
def library(app: App) -> Iterator[Library]:
    """The studio's library; what a test adds to it goes again."""
    made = Library(app.outputs)
    before = {track.id for track in made.list()}
    yield made
    for track in made.list():
        if track.id not in before:
            made.delete(track.id)


def come_to_rest(page: Page) -> None:
    """Wait until the fields keep their values: Gradio sets those that came into sight once more, a frame later.

    Frames are counted and not milliseconds: a busy machine draws fewer of them.
    """
    page.evaluate(AT_REST)


def open_fold(page: Page, name: str) -> None:
    """Open a fold of a page at rest, and wait until it is at rest again."""
    come_to_rest(page)
    page.locator(f"#{name}-fold > button").click()
    come_to_rest(page)


def shoot(page: Page, name: str) -> Path:
    """A picture of the whole page in `test-results/screens`, the same to the pixel each time."""
    page.evaluate("document.fonts.ready")
    path = SCREENS / f"{name}.png"
    page.screenshot(path=path, full_page=True, animations="disabled", caret="hide")
    return path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks every test of this folder as one that needs a browser."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)

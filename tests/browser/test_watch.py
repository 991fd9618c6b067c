"""The watch over a page sees what it should see."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import PATIENCE_S, NewContext, Watch

HOME = "http://127.0.0.1:9"


@pytest.fixture
def blank(new_context: NewContext) -> Page:
    return new_context().new_page()


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("console.error('out of tune')", "console: out of tune"),
        ("setTimeout(() => { throw new Error('broken string') })", "exception: broken string"),
        ("fetch('https://example.com/font.woff2').catch(() => 0)", "request: GET https://example.com/font.woff2"),
        (f"fetch('{HOME}/file').catch(() => 0)", f"request: GET {HOME}/file"),
    ],
)
def test_what_goes_wrong_is_seen(blank: Page, script: str, problem: str) -> None:
    watch = Watch(blank, HOME)
    blank.evaluate(f"() => {{ {script} }}")
    for _ in range(100 * PATIENCE_S):
        if not watch.problems:
            blank.wait_for_timeout(10)
    assert watch.problems[0].startswith(problem)


def test_what_is_harmless_is_not_held_against_the_page(blank: Page) -> None:
    watch = Watch(blank, HOME)
    blank.evaluate("console.warn('quiet')")
    blank.evaluate(f"fetch('{HOME}/file', {{ signal: AbortSignal.abort() }}).catch(() => 0)")
    blank.evaluate("console.error('Failed to load resource: the server responded with a status of 422 ()')")
    blank.wait_for_timeout(300)
    assert watch.problems == []

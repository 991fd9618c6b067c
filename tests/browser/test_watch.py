"""The watch over a page sees what it should see."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import NewContext, Watch

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
    blank.wait_for_timeout(300)
    assert watch.problems[0].startswith(problem)


@pytest.mark.parametrize(
    "script", ["console.warn('quiet')", f"fetch('{HOME}/gradio_api/queue/data?session_hash=1').catch(() => 0)"]
)
def test_what_is_harmless_is_not_held_against_the_page(blank: Page, script: str) -> None:
    watch = Watch(blank, HOME)
    blank.evaluate(f"() => {{ {script} }}")
    blank.wait_for_timeout(300)
    assert [problem for problem in watch.problems if not problem.startswith("console: Failed to load")] == []

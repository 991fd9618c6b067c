"""Jobs as a person meets them who reloads the page: they go on, and the page that comes back shows them."""

from __future__ import annotations

import re
from contextlib import closing

from gradio_client import Client
from playwright.sync_api import Page, expect

from tests.browser.conftest import come_to_rest
from tests.browser.test_page import SONG_MS, quick
from tests.conftest import App


def test_a_reloaded_page_shows_its_job_in_line_again_and_then_its_song(page: Page, app: App) -> None:
    page.locator(".chips button", has_text="10 s").click()
    quick(page)
    page.locator("#generate-start").get_by_role("button", name="Simple", exact=True).click()
    page.locator("#inspire-query textarea").fill("slow reggae")
    with closing(Client(app.url, verbose=False)) as client:
        other = client.submit(prompt="polka", duration_s=240, inference_steps=200, seed=5, api_name="/generate")
        while not any(line.startswith("denoising") for _, _, line in other.outputs()):
            assert not other.done()
        page.locator("#run-simple").click()
        expect(page.locator("#progress [data-text]")).to_have_text("queued · 1 before you")
        page.reload()
        expect(page.locator("#progress [data-text]")).to_have_text("queued · 1 before you")
        expect(page.locator("#cancel")).to_be_visible()
        expect(page.locator("#run-simple")).to_be_hidden()
        other.cancel()
    title = page.locator("#song-title h2")
    expect(title).to_have_text(re.compile(r"^slow reggae.* · 0:10 · seed \d+$"), timeout=SONG_MS)
    expect(page.locator("#run-simple")).to_be_visible()
    expect(page.locator("#generate-prompt textarea")).to_have_value(re.compile("^slow reggae"))  # and can be undone
    expect(page.locator("#undo-draft")).to_be_enabled()
    expect(page.locator("#history label", has_text="slow reggae")).to_have_count(1)
    page.reload()
    expect(page.locator("#history label", has_text="slow reggae")).to_have_count(1)
    come_to_rest(page)
    expect(page.locator("#run-simple")).to_be_visible()
    expect(title).to_be_hidden()

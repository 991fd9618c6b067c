"""Several stretches marked on one waveform: drawn, moved and deleted by mouse, touch and keys, and told as text."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from playwright.sync_api import Page, expect

from core.tables import SAMPLE_RATE
from library.records import Record
from library.tracks import Library
from tests.browser.test_page import drag, swipe
from tests.browser.test_pane import come_back, recall


def test_several_stretches_are_recalled_marked_moved_apart_from_each_other_deleted_and_typed(
    page: Page, library: Library
) -> None:
    tape = 0.3 * np.random.default_rng(1).standard_normal((2, 12 * SAMPLE_RATE)).clip(-3, 3).astype(np.float32)
    facts: dict[str, Any] = {"checkpoint": "nano", "seed": 7}
    source = library.save(tape, None, Record(mode="generate", title="the tape", values={"prompt": "tape"}, **facts))
    stretches = {"segment_start_s": 1, "segment_end_s": 2.5, "more_segments": "5-7"}
    new: dict[str, Any] = {"window_start_s": 1, "window_end_s": 7, "several_s": ((1, 2.5), (5, 7))}
    values: dict[str, Any] = {**stretches, "src_audio": str(source.path.resolve())}
    library.save(0.5 * tape, None, Record(mode="edit", title="two edits", values=values, **facts, **new))
    come_back(page, 2)
    recall(page, "two edits")
    line, field = page.locator("#edit-form .region p"), page.locator("#edit-more-segments :is(input, textarea)")
    expect(line).to_have_text("1 of 2: 0:01.0 – 0:02.5 of 0:12.0")
    expect(field).to_have_value("5-7")
    expect(page.locator("#listen")).to_contain_text("New: 0:01.0 – 0:02.5, 0:05.0 – 0:07.0 · the rest is the source")
    expect(page.locator("#listen .fresh:visible")).to_have_count(2)
    page.get_by_role("button", name="Hear the source").click()
    expect(page.locator("#compare .wave .fresh")).to_have_count(2)

    page.get_by_role("button", name="Add a stretch").click()
    expect(line).to_have_text("3 of 3: 0:08.1 – 0:11.1 of 0:12.0")
    expect(field).to_have_value("5-7, 8.1-11.1")
    third = page.get_by_label("Stretch 3", exact=True)
    expect(third).to_be_focused()
    third.press("PageDown")
    third.press("PageDown")
    expect(field).to_have_value("5-7, 7.1-10.1")  # up to its neighbour

    canvas = page.locator("#edit-form .region canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    second, left, y = box["width"] / 12, box["x"], box["y"] + 20
    drag(page, left + 6 * second, y, -5 * second)
    expect(line).to_have_text("2 of 3: 0:02.6 – 0:04.6 of 0:12.0")
    swipe(page, left + 4.6 * second, y, second)
    expect(field).to_have_value(re.compile(r"^2\.6-5\.[5-7]\d*, 7\.1-10\.1$"))
    page.get_by_label("End of stretch 2").press("Delete")
    expect(line).to_have_text("2 of 2: 0:07.1 – 0:10.1 of 0:12.0")
    expect(field).to_have_value("7.1-10.1")
    page.get_by_label("The whole stretch").press("Delete")  # the first: the next one takes its place
    expect(line).to_have_text("0:07.1 – 0:10.1 of 0:12.0")
    expect(page.locator("#edit-segment-start-s input")).to_have_value("7.1")
    expect(page.get_by_role("button", name="Delete", exact=True)).to_be_disabled()

    field.fill("0:00.5 - 0:02; 3-4")
    expect(page.locator("#edit-form .region .whole")).to_have_count(3)
    page.get_by_label("Stretch 2", exact=True).focus()
    expect(line).to_have_text("2 of 3: 0:00.5 – 0:02.0 of 0:12.0")
    field.fill("soon")
    expect(page.locator("#edit-form .region .whole")).to_have_count(1)
    page.locator("#run-edit").click()
    expect(page.locator("#edit-more-segments .fault-text")).to_contain_text("must be stretches such as 12-20")
    page.set_viewport_size({"width": 390, "height": 844})
    heights = page.locator("#edit-form .region button").evaluate_all("all => all.map((each) => each.offsetHeight)")
    assert min(heights) >= 44
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

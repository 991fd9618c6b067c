"""What is played in step, by the samples that go to the loudspeakers: switched, muted, moved, and never broken off."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Page, expect

from core.tables import SAMPLE_RATE
from library import audio
from library.records import Record, Track
from library.tracks import Library
from tests.browser.conftest import come_to_rest

SECONDS = 8
QUIETER = 0.5

NAMES = ("vocals", "drums", "bass", "other")
HERTZ = (400, 800, 1200, 1600)
BLOCK = 2400
"""A whole number of periods of each tone."""

CLICK = 0.1
"""Four tones of 0.1 never move so far from one sample to the next; a break in them does."""

RECORDER = """() => {
  // Whatever reaches a loudspeaker is kept, sample for sample, on the thread that renders it.
  const worklet = `registerProcessor("recorder", class extends AudioWorkletProcessor {
    process([input]) { this.port.postMessage([currentFrame, input.map(side => side.slice())]); return true; }
  })`;
  window.heard = [];
  window.AudioContext = class extends AudioContext {
    recorder = this.audioWorklet.addModule(`data:text/javascript,${encodeURIComponent(worklet)}`).then(() => {
      const node = new AudioWorkletNode(this, "recorder", { channelCount: 2, channelCountMode: "explicit" });
      node.port.onmessage = ({ data }) => heard.push(data);
      return node;
    }).catch(() => null);  // a context that only decodes is closed before
  };
  const connect = AudioNode.prototype.connect;
  AudioNode.prototype.connect = function (target, ...more) {
    if (target === this.context.destination) this.context.recorder?.then(node => node && connect.call(this, node));
    return connect.call(this, target, ...more);
  };
}"""

HEARD = """() => {
  const first = heard.findIndex(([, sides]) => sides.some(side => side.some(x => Math.abs(x) > 1e-4)));
  const blocks = heard.slice(first);
  const sides = [0, 1].map(side => blocks.flatMap(([, sides]) => sides[side] ? [...sides[side]] : Array(128).fill(0)));
  const gaps = blocks.slice(1).filter(([frame], i) => frame !== blocks[i][0] + 128).length;
  return { sides: sides.map(side => side.map(x => Math.round(x * 1e7) / 1e7)), gaps };
}"""


def chirp(level: float) -> NDArray[np.float32]:
    """A tone that rises all the time: where one is in it can be heard."""
    times = np.arange(SECONDS * SAMPLE_RATE) / SAMPLE_RATE
    sound: NDArray[np.float32] = (level * np.sin(2 * np.pi * (200 + 25 * times) * times)).astype(np.float32)
    return sound


def save(library: Library, title: str, left: Any, right: Any, **facts: Any) -> Track:
    given: dict[str, Any] = {
        "mode": "generate",
        "title": title,
        "checkpoint": "nano",
        "seed": 7,
        "values": {"prompt": title},
    } | facts
    return library.save(np.stack([left, right]), None, Record(**given))


def come_back(page: Page, title: str) -> None:
    """Reload the page, with its loudspeakers recorded, and show a song."""
    page.add_init_script(f"({RECORDER})()")
    page.reload()
    come_to_rest(page)
    show(page, title)


def show(page: Page, title: str) -> None:
    page.locator("#history label", has_text=title).first.click()
    expect(page.locator("#song-title h2")).to_contain_text(title)


def heard(page: Page) -> NDArray[np.float64]:
    """The samples `(2, S)` that were played, none of them lost."""
    got = page.evaluate(HEARD)
    assert got["gaps"] == 0
    return np.array(got["sides"])


def wait_for(page: Page, place: str, name: str) -> None:
    expect(page.locator(f"#{place} .time")).to_have_text(re.compile(name))


def test_two_songs_are_as_loud_as_each_other_switched_without_a_gap_at_the_same_place_and_compared_blind(
    page: Page, library: Library
) -> None:
    save(library, "the louder", chirp(0.4), chirp(0.4), seed=3)
    # As loud to the meter as one in which both sides swing alike; of the two the right side alone tells which is heard.
    save(library, "the quieter", chirp(0.4 * QUIETER), -chirp(0.4 * QUIETER))
    come_back(page, "the louder")
    compare = page.locator("#compare")
    compare.get_by_role("button", name="Compare").click()
    expect(compare).to_contain_text("Open the other song")
    show(page, "the quieter")
    expect(compare.locator(".panel > .told")).to_have_text("A is played 6.0 dB quieter: both are equally loud")
    expect(compare.locator("summary")).to_have_text("2 settings differ")
    compare.get_by_label("Play what is compared").click()
    wait_for(page, "compare", "0:0[1-7]")
    a, b = compare.get_by_label("Hear A"), compare.get_by_label("Hear B")
    expect(a).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("x")
    expect(b).to_have_attribute("aria-pressed", "true")
    wait_for(page, "compare", "0:0[2-7]")
    a.click()
    expect(b).to_have_attribute("aria-pressed", "false")
    wait_for(page, "compare", "0:0[3-7]")
    compare.get_by_label("Pause what is compared").click()
    left, right = heard(page)
    assert_goes_on(left, right)
    assert_blind(page)


def assert_goes_on(left: NDArray[np.float64], right: NDArray[np.float64]) -> None:
    """One tone goes on through both changes as if nothing had happened, as loud as the quieter song."""
    begun = int(np.flatnonzero(np.abs(left) > 1e-4)[0])
    expected = chirp(0.4 * QUIETER).astype(float)
    settled = left[begun + 1000 :]
    place = min(range(1000, 3000), key=lambda each: float(np.abs(settled[:2000] - expected[each:][:2000]).max()))
    span = (int(np.flatnonzero(np.abs(left) > 1e-4)[-1]) - begun - 4000) // 4800 * 4800  # until the fade of the pause
    assert span > SAMPLE_RATE
    assert np.abs(settled[:span] - expected[place:][:span]).max() < (10 ** (0.1 / 20) - 1) * 0.4 * QUIETER
    alike = (right * left)[begun + 1000 :][:span].reshape(-1, 4800).mean(axis=1)
    signs = np.sign(alike[np.abs(alike) > 0.9 * np.abs(alike).max()])
    assert list(signs[np.flatnonzero(np.diff(signs, prepend=0))]) == [1, -1, 1]  # A, B, A


def assert_blind(page: Page) -> None:
    """Nothing is told of the two songs until one is picked; meanwhile one player sounds at a time."""
    compare, player = page.locator("#compare"), page.locator("#player")
    compare.get_by_role("button", name="Blind").click()
    panel = compare.locator(".panel")
    expect(panel).not_to_contain_text(re.compile("the louder|the quieter|differ|dB|A ·|B ·"))
    player.get_by_label("Play", exact=True).click()
    compare.get_by_label("Play what is compared").click()
    expect(player.get_by_label("Play", exact=True)).to_be_attached()
    player.get_by_label("Play", exact=True).click()
    expect(compare.get_by_label("Play what is compared")).to_be_attached()
    player.get_by_label("Pause").click()
    compare.get_by_label("Song 2 is better").click()
    expect(panel.locator("> .told")).to_have_text(re.compile(r"You picked [AB]\. Picked so far: (A 1, B 0|A 0, B 1)\."))
    expect(panel).to_contain_text("A · the louder")
    expect(panel).to_contain_text("B · the quieter")
    compare.get_by_role("button", name="Close").click()
    expect(panel).to_be_hidden()


def test_stems_play_in_step_and_are_muted_heard_alone_moved_and_sent_on(page: Page, library: Library) -> None:
    times = np.arange(SECONDS * SAMPLE_RATE) / SAMPLE_RATE
    tones = {name: 0.1 * np.sin(2 * np.pi * hz * times) for name, hz in zip(NAMES, HERTZ, strict=True)}
    mix = sum(tones.values()).astype(np.float32)  # type: ignore[union-attr]
    track = save(library, "a band", mix, mix)
    with library.companions.begun(track.sha256) as folder:
        for name, tone in tones.items():
            audio.save_wav(folder / f"{name}.wav", np.stack([tone, tone]).astype(np.float32))
        files = [f"{name}.wav" for name in NAMES]
        library.companions.keep(folder, "stems", "0" * 64, facts={}, names=files, notes=[])
    come_back(page, "a band")
    stems = page.locator("#stems")
    expect(stems.locator(".lane svg")).to_have_count(2 * len(NAMES))
    stems.get_by_label("Play the stems").click()
    wait_for(page, "stems", "0:0[1-7]")
    stems.get_by_label("Mute Drums").click()
    expect(stems.get_by_label("Mute Drums")).to_have_attribute("aria-pressed", "true")
    stems.get_by_role("slider").focus()
    page.keyboard.press("Home")
    wait_for(page, "stems", "0:00")
    wait_for(page, "stems", "0:0[1-7]")
    stems.get_by_label("Solo Bass").click()
    wait_for(page, "stems", "0:0[2-7]")
    stems.get_by_label("Pause the stems").click()
    left, _ = heard(page)
    begun = int(np.flatnonzero(np.abs(left) > 1e-4)[0])
    played = left[begun : int(np.flatnonzero(np.abs(left) > 1e-4)[-1])]
    assert np.abs(np.diff(played)).max() < CLICK
    blocks = played[: len(played) // BLOCK * BLOCK].reshape(-1, BLOCK)
    window = np.hanning(BLOCK)
    levels = np.array(
        [
            [2 * abs(np.sum(block * window * np.exp(-2j * np.pi * hz * np.arange(BLOCK) / SAMPLE_RATE))) / window.sum()
             for hz in HERTZ]
            for block in blocks
        ]
    )  # fmt: skip
    seen = [tuple(bool(level > 0.05) for level in row) for row in levels if ((row < 0.002) | (row > 0.098)).all()]
    order = [seen[0], *(now for before, now in pairwise(seen) if now != before)]
    assert order == [(True,) * 4, (True, False, True, True), (False, False, True, False)]
    stems.get_by_label("Edit the stem Bass").click()
    expect(page.locator("#edit-form .region p")).to_contain_text("of 0:08.0")
    expect(page.locator("#modes label.selected")).to_have_text("Edit")


def test_what_is_new_is_marked_the_source_is_heard_beside_it_and_the_words_follow(page: Page, library: Library) -> None:
    source = save(library, "the tape", chirp(0.2), chirp(0.2))
    words = "[verse]\nfirst line\nsecond line\nthird line\nfourth line"
    values = {"src_audio": str(source.path.resolve()), "extra_duration_s": 8, "side": "before", "lyrics": words}
    long = np.concatenate([chirp(0.1), chirp(0.2)])
    facts = {"mode": "extend", "hashes": {"src_audio": source.sha256}, "values": values}
    track = save(library, "the longer tape", long, long, window_start_s=0, window_end_s=10, **facts)
    with library.companions.begun(track.sha256) as folder:
        timed = "[00:01.00]♪ verse\n" + "\n".join(
            f"[00:{at:02d}.00]{line}" for at, line in zip((1, 5, 9, 13), words.splitlines()[1:], strict=True)
        )
        (folder / "words.lrc").write_text(timed, encoding="utf-8")
        library.companions.keep(folder, "lrc", "0" * 64, facts={}, names=["words.lrc"], notes=[])
    come_back(page, "the longer tape")
    listen, wave = page.locator("#listen"), page.locator("#player #waveform")
    expect(page.locator("#player #duration")).to_have_text("0:16")
    expect(listen).to_contain_text("New: 0:00.0 – 0:10.0 · the rest is the source")
    expect(listen.locator(".fresh")).to_be_visible()
    mark, whole = listen.locator(".fresh").bounding_box(), wave.bounding_box()
    assert mark is not None and whole is not None
    assert mark["x"] == pytest.approx(whole["x"], abs=1) and mark["y"] == pytest.approx(whole["y"], abs=1)
    assert mark["width"] == pytest.approx(whole["width"] * 10 / 16, abs=1)
    top = page.evaluate("scrollY")
    listen.get_by_role("button", name="third line").click()
    expect(listen.locator("[aria-current]")).to_have_text("third line")
    page.locator("#player").get_by_label("Play", exact=True).click()
    expect(listen.locator("[aria-current]")).to_have_text("fourth line")
    page.locator("#player").get_by_label("Pause").click()
    assert page.evaluate("scrollY") == top
    page.get_by_role("button", name="Hear the source").click()
    compare = page.locator("#compare")
    expect(compare.locator(".lane").first).to_contain_text("Source · the tape")
    expect(compare.locator(".time")).to_have_text(re.compile(r"0:1[345]\.\d / 0:16.0"))  # where the player was
    box, drawn = compare.locator(".wave").first.bounding_box(), compare.locator(".lane svg").first.bounding_box()
    assert box is not None and drawn is not None
    assert drawn["x"] - box["x"] == pytest.approx(box["width"] / 2, abs=1)

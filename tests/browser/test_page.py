"""The page as a person meets it: making a song, stopping one, being told what is wrong, on a desk and on a phone."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from gradio_client import Client
from playwright.sync_api import Page, expect

import tooltips
from checkpoints import table
from core.params import MODES
from core.plans import length_from_words
from library.index import FILES as INDEX
from tests.browser.conftest import come_to_rest, open_fold, shoot
from tests.conftest import App

SONG_MS = 120_000
"""How long a song may take on a machine that is busy with something else, in milliseconds."""

NASTY = "lofi hip hop <b>rain</b> ${document.title='owned'} {{value}}"
"""A prompt that would show if any of it were read as markup or as a template."""

NAMELESS = """fields => fields.filter(e => e.checkVisibility()).filter(
  e => !(e.ariaLabel || e.innerText || [...(e.labels ?? [])].map((label) => label.innerText).join())
).map(e => e.outerHTML)"""
"""The fields without a name for those who cannot see them."""

RECORD = """() => {
  const line = document.querySelector("#progress [data-text]");
  window.recorded = [];
  new MutationObserver(() => {
    if (line.textContent !== recorded.at(-1)) recorded.push(line.textContent);
  }).observe(line, { childList: true, characterData: true, subtree: true });
}"""
"""Keeps every line of progress from now on in `recorded`."""

CONTRAST = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def song(app: App, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The metadata of a song in the library."""
    client = Client(app.url, verbose=False, download_files=str(tmp_path_factory.mktemp("song")))
    values = {"prompt": NASTY, "duration_s": 10, "inference_steps": 2, "seed": 0, "bpm": 90}
    _, metadata, _ = client.predict(**values, api_name="/generate")
    client.close()
    return dict(metadata)


def pick(page: Page, mode: str) -> None:
    page.locator("#modes label", has_text=tooltips.MODES[mode][0]).click()
    expect(page.locator(f"#{mode}-form")).to_be_visible()


def recall(page: Page, words: str) -> None:
    page.locator("#history label", has_text=words).first.click()
    expect(page.locator("#song-title h2")).to_contain_text(words)


def files(app: App) -> set[str]:
    return {path.name for path in app.outputs.glob("*")} - set(INDEX)


def quick(page: Page, mode: str = "generate") -> None:
    """Few steps, so that a test need not wait."""
    open_fold(page, f"{mode}-diffusion")
    page.locator(f"#{mode}-inference-steps input").fill("2")


# ---- a song ----------------------------------------------------------------------------------------------------------


def test_a_prompt_and_one_press_make_a_song_that_plays(page: Page, app: App) -> None:
    page.locator("#generate-prompt textarea").fill("ambient piano")
    page.locator(".chips button", has_text="10 s").click()
    quick(page)
    expect(page.locator("#run-generate")).to_have_text(re.compile(r"Generate · about \d+ (s|min) on this machine"))
    before = files(app)
    page.locator("#run-generate").click()
    expect(page.locator("#cancel")).to_be_visible()
    expect(page.locator("#run-generate")).to_be_hidden()
    expect(page.locator("#song-title h2")).to_have_text(
        re.compile(r"^ambient piano · 0:10 · seed \d+$"), timeout=SONG_MS
    )
    expect(page.locator("#run-generate")).to_be_visible()
    assert len(files(app) - before) == 3  # sound, sidecar, latents
    expect(page.locator("#player #duration")).to_have_text("0:10")
    page.locator("#player").get_by_label("Play", exact=True).click()
    expect(page.locator("#player #time")).to_have_text(re.compile(r"^0:(0[1-9]|10)$"))
    shoot(page, "song")


def test_a_finished_song_is_found_again_after_a_reload_with_its_settings(page: Page, song: dict[str, Any]) -> None:
    page.reload()
    recall(page, "lofi hip hop")
    expect(page.locator("#generate-prompt textarea")).to_have_value(NASTY)
    open_fold(page, "generate-music")
    expect(page.locator("#generate-bpm input")).to_have_value("90")
    expect(page.locator("#player #duration")).to_have_text("0:10")


def test_a_song_whose_weights_are_gone_is_recalled_and_refused_with_what_to_do(
    page: Page, app: App, song: dict[str, Any]
) -> None:
    made = app.outputs / f"{song['id']}.json"
    gone = made.with_stem(f"{made.stem[:-8]}00000000")
    facts = json.loads(made.read_text(encoding="utf-8"))
    facts |= {"id": gone.stem, "title": "of other weights", "checkpoint": "xl-sft"}
    facts["values"] |= {"checkpoint": "xl-sft"}
    gone.write_text(json.dumps(facts), encoding="utf-8")
    shutil.copy(made.with_suffix(".wav"), gone.with_suffix(".wav"))
    page.reload()
    recall(page, "of other weights")
    page.locator("#run-generate").click()
    expect(page.locator("#progress [data-text]")).to_have_text(
        "ACE-Step 1.5 XL SFT is not installed (11.5 GB). "
        "Bring it here with ./studio checkpoints download xl-sft, or choose an installed checkpoint."
    )
    for suffix in (".json", ".wav"):
        gone.with_suffix(suffix).unlink()


def test_a_flag_that_the_studio_would_choose_can_be_set_and_comes_back_with_its_song(page: Page) -> None:
    page.locator("#generate-prompt textarea").fill("corrected waltz")
    page.locator(".chips button", has_text="10 s").click()
    quick(page)
    flag = page.locator("#generate-dcw-enabled input")
    open_fold(page, "generate-correction")
    expect(flag).to_have_value("auto · off")
    flag.click()
    page.get_by_role("option", name="on", exact=True).click()
    page.locator("#run-generate").click()
    expect(page.locator("#song-title h2")).to_contain_text("corrected waltz", timeout=SONG_MS)
    page.reload()
    recall(page, "corrected waltz")
    open_fold(page, "generate-correction")
    expect(flag).to_have_value("on")
    expect(page.locator("#generate-dcw-mode input")).to_have_value("double")


def test_what_a_user_wrote_is_shown_as_written(page: Page, song: dict[str, Any]) -> None:
    recall(page, "lofi hip hop")
    expect(page.locator("#song-title h2")).to_contain_text(NASTY)
    expect(page).to_have_title("ACE Music Studio")
    assert page.locator("#song-title h2 > *, #history b").count() == 0


def test_takes_stand_side_by_side_and_are_played_in_turn(page: Page) -> None:
    page.locator("#generate-prompt textarea").fill("chiptune")
    page.locator(".chips button", has_text="10 s").click()
    quick(page)
    page.locator("#generate-variations input[type=number]").fill("2")
    page.locator("#generate-seed input").fill("100")
    page.locator("#run-generate").click()
    title = page.locator("#song-title h2")
    expect(title).to_have_text("chiptune · 0:10 · seed 100", timeout=SONG_MS)
    page.locator("#takes label", has_text="Take 2").click()
    expect(title).to_have_text("chiptune · 0:10 · seed 101")
    page.locator("#takes label", has_text="Take 1").click()
    expect(title).to_have_text("chiptune · 0:10 · seed 100")


def test_a_retake_changes_the_seed_and_nothing_else(page: Page, app: App, song: dict[str, Any]) -> None:
    recall(page, "lofi hip hop")
    first = page.locator("#song-title h2").inner_text()
    page.locator("#generate-prompt textarea").fill("what stands in the form does not count")
    page.locator("#retake").click()
    expect(page.locator("#song-title h2")).not_to_have_text(first, timeout=SONG_MS)
    open_fold(page, "metadata")
    expect(page.locator("#metadata")).to_contain_text("lofi hip hop")
    assert page.locator("#song-title h2").inner_text().rpartition(" ")[0] == first.rpartition(" ")[0]


def test_the_seed_can_be_locked_and_unlocked(page: Page, song: dict[str, Any]) -> None:
    recall(page, "lofi hip hop")
    open_fold(page, "generate-diffusion")
    page.locator("#generate-seed input").fill("77")
    page.locator("#lock").click()
    expect(page.locator("#lock")).to_have_text("Unlock seed")
    expect(page.locator("#generate-seed input")).not_to_have_value("77")
    page.locator("#lock").click()
    expect(page.locator("#generate-seed input")).to_have_value("")


@pytest.mark.parametrize("mode", ["cover", "extend", "edit"])
def test_a_song_is_sent_on_as_the_source_of_another_mode(page: Page, song: dict[str, Any], mode: str) -> None:
    recall(page, "lofi hip hop")
    page.locator(f"#send-{mode}").click()
    expect(page.locator(f"#{mode}-form")).to_be_visible()
    waveform = page.locator(f"#{mode}-src-audio .waveform-container, #{mode}-form .region canvas")
    expect(waveform.filter(visible=True)).to_have_count(1)
    expect(page.locator("#modes input:checked")).to_have_value(mode)
    expect(page.locator(f"#run-{mode}")).to_have_text(re.compile("about"))


# ---- stopping, and being told what is wrong --------------------------------------------------------------------------


def test_cancel_acts_and_leaves_nothing_behind(page: Page, app: App) -> None:
    page.locator("#generate-prompt textarea").fill("rock")
    open_fold(page, "generate-diffusion")
    page.locator("#generate-inference-steps input").fill("200")
    before = files(app)
    page.locator("#run-generate").click()
    expect(page.locator("#progress [data-text]")).to_have_text(re.compile(r"denoising · \d+ of 200"), timeout=SONG_MS)
    expect(page.locator("#status")).to_have_text(re.compile(r"denoising \d+ of 200"))
    page.evaluate(RECORD)
    page.locator("#cancel").click()
    expect(page.locator("#progress [data-text]")).to_have_text("cancelled · nothing was saved")
    expect(page.locator("#run-generate")).to_be_visible()
    lines = page.evaluate("recorded")
    assert lines[lines.index("cancelling") :] == ["cancelling", "cancelled · nothing was saved"]
    assert files(app) == before


def test_wrong_values_are_told_once_at_their_fields_by_their_labels_until_they_are_mended(page: Page, app: App) -> None:
    before = files(app)
    length, prompt, tempo = (page.locator(f"#generate-{name}") for name in ("duration-s", "prompt", "bpm"))
    open_fold(page, "generate-music")
    tempo.locator("input").fill("5")
    open_fold(page, "generate-music")  # and closed again
    length.locator("input").fill("3")
    page.locator("#run-generate").click()
    expect(page.locator("#progress [data-text]")).to_have_text(
        "refused · Style prompt, Length, Tempo · Correct the values named and try again."
    )
    expect(length.locator(".fault-text")).to_contain_text("Length must be a number from 5 to 600 seconds")
    expect(prompt.locator(".fault-text")).to_have_text("Style prompt must not be empty when the lyrics are empty too.")
    expect(tempo.locator(".fault-text")).to_contain_text("Tempo must be a whole number from 30 to 300")
    expect(length.locator("input")).to_have_attribute("aria-invalid", "true")
    expect(length.locator("input")).to_have_accessible_description(re.compile("from 5 to 600 seconds"))
    expect(prompt.locator("textarea")).to_be_focused()
    expect(prompt).to_be_in_viewport()
    expect(page.locator(".fault-text")).to_have_count(3)
    assert page.get_by_test_id("toast-text").count() == 0
    shoot(page, "faults")
    page.locator("#generate-lyrics textarea").fill("la la")
    expect(prompt.locator(".fault-text")).to_have_count(0)
    expect(page.locator("#generate-lyrics")).to_contain_text("nano sings no words")  # and the form moves no more
    page.locator(".chips button", has_text="10 s").click()
    expect(length.locator(".fault-text")).to_have_count(0)
    expect(length.locator("input")).not_to_have_attribute("aria-invalid", "true")
    page.locator("#run-generate").click()
    expect(page.locator("#progress [data-text]")).to_have_text(re.compile("^refused · Tempo ·"))
    expect(tempo.locator("input")).to_be_focused()
    expect(page.locator("#no-song")).to_be_visible()
    assert files(app) == before


def test_an_empty_number_is_never_shown_or_sent_as_zero_when_its_fold_opens(page: Page) -> None:
    page.evaluate(
        """() => {
            window.zeros = [];
            const look = () => {
                for (const field of document.querySelectorAll("#generate-form input[type=number][placeholder]"))
                    if (field.value === "0") window.zeros.push(field.closest("[id]").id);
                requestAnimationFrame(look);
            };
            look();
        }"""
    )
    for fold in page.locator("#generate-form .gr-accordion > button").all():
        fold.click()
    come_to_rest(page)
    seed = page.locator("#generate-seed input")
    seed.fill("7")
    seed.fill("")
    for _ in range(2):  # closed, and open again
        page.locator("#generate-diffusion-fold > button").click()
    expect(seed).to_have_value("")
    come_to_rest(page)
    assert page.evaluate("[...new Set(window.zeros)]") == []


def test_a_knob_that_nano_cannot_honour_says_why(page: Page) -> None:
    muted = table.recipe_of("nano").muted
    assert muted
    for fold in page.locator("#generate-form .gr-accordion > button").all():
        fold.click()
    for name, reason in muted.items():
        knob = page.locator(f"#generate-{name.replace('_', '-')}")
        if knob.count():
            expect(page.locator(".gr-accordion", has=knob)).to_contain_text(reason)
            expect(knob.locator("input, textarea").first).to_be_disabled()


def test_a_knob_that_means_nothing_beside_the_others_is_disabled_with_the_reason_and_keeps_its_value(
    page: Page,
) -> None:
    pick(page, "edit")
    open_fold(page, "edit-region")
    source = page.locator("#edit-source-prompt")
    expect(source.locator("textarea")).to_be_disabled()
    expect(page.locator("#edit-region-fold .reason")).to_contain_text("belongs to the “Kind of edit” flow")
    kind = page.locator("#edit-edit-mode label")
    kind.filter(has_text="Flow").click()
    source.locator("textarea").fill("a piano")
    kind.filter(has_text="Repaint").click()
    expect(source.locator("textarea")).to_be_disabled()
    expect(source.locator("textarea")).to_have_value("a piano")
    page.locator("#edit-repaint-mode label", has_text="Aggressive").click()
    expect(page.locator("#edit-repaint-strength")).to_contain_text("belongs to the “Repaint mode” balanced")
    expect(page.locator("#edit-repaint-strength input").first).to_be_disabled()
    page.locator("#run-edit").click()
    expect(page.locator("#edit-src-audio .fault-text")).to_contain_text("Source audio must be given")
    expect(page.locator(".fault-text")).to_have_count(1)  # nothing of what is disabled


# ---- modes -----------------------------------------------------------------------------------------------------------


def test_the_rail_shows_one_form_one_button_and_its_kind_of_result(page: Page) -> None:
    for mode in MODES:
        pick(page, mode)
        expect(page.locator(".mode:visible")).to_have_count(1)
        expect(page.locator("#dock .run:visible")).to_have_count(1)
        expect(page.locator(f"#run-{mode}")).to_be_visible()
        expect(page.locator("#words" if mode == "lyrics" else "#song")).to_be_visible()
        expect(page.locator("#song" if mode == "lyrics" else "#words")).to_be_hidden()
        shoot(page, f"mode-{mode}")


def test_numbers_that_the_studio_chooses_start_empty(page: Page) -> None:
    open_fold(page, "generate-diffusion")
    steps = page.locator("#generate-inference-steps input")
    expect(steps).to_have_value("")
    expect(steps).to_have_attribute("placeholder", f"auto · {table.recipe_of('nano').inference_steps}")


def test_a_draft_of_words_is_kept_whatever_is_run_and_taken_over_into_generate(page: Page) -> None:
    pick(page, "lyrics")
    page.locator("#lyrics-brief textarea").fill("rain on a tin roof")
    page.locator("#run-lyrics").click()
    expect(page.locator("#progress [data-text]")).to_have_text(re.compile("^written"))
    words = page.locator("#draft textarea").input_value()
    assert "[chorus" in words.lower()
    counts = page.locator("#line-counts p")
    expect(counts).to_contain_text("verse 1: 6 of 6 · chorus 1: 4 of 4")
    page.locator("#draft textarea").fill("[verse]\nonly one line")
    expect(counts).to_contain_text("verse 1: 1 of 6 · chorus 1: missing")
    page.locator("#lyrics-brief textarea").fill("")
    page.locator("#run-lyrics").click()
    expect(page.locator("#lyrics-brief .fault-text")).to_have_text("Brief must say what the song is about.")
    expect(page.locator("#draft textarea")).to_have_value("[verse]\nonly one line")
    expect(page.locator("#earlier-draft")).to_be_hidden()
    page.locator("#lyrics-brief textarea").fill("rain on a tin roof")
    page.locator("#run-lyrics").click()
    expect(page.locator("#progress [data-text]")).to_have_text(re.compile("^written"))
    words = page.locator("#draft textarea").input_value()
    page.locator("#earlier-draft").click()
    expect(page.locator("#draft textarea")).to_have_value("[verse]\nonly one line")
    page.locator("#earlier-draft").click()
    expect(page.locator("#draft textarea")).to_have_value(words)
    page.locator("#use-lyrics").click()
    lyrics = page.locator("#generate-lyrics")
    expect(lyrics.locator("textarea")).to_have_value(words)
    expect(page.locator("#generate-duration-s input")).to_have_value(f"{length_from_words(words):g}")
    expect(lyrics).to_contain_text("nano sings no words")
    lyrics.locator("textarea").fill("")
    expect(lyrics).to_contain_text("empty makes an instrumental")
    lyrics.locator("textarea").press_sequentially("la la")
    expect(lyrics).to_contain_text("nano sings no words")
    expect(lyrics.locator("textarea")).to_be_focused()
    expect(lyrics.locator("textarea")).to_have_value("la la")
    expect(page.locator("#run-generate")).to_be_visible()


def test_what_only_language_models_can_do_is_disabled_while_the_built_in_writer_writes(page: Page) -> None:
    pick(page, "lyrics")
    open_fold(page, "lyrics-writer")
    expect(page.locator("#lyrics-writer input")).to_have_value("auto · built-in")
    for name in ("temperature", "top-p", "top-k", "repetition-penalty", "max-new-tokens"):
        expect(page.locator(f"#lyrics-{name} input").first).to_be_disabled()
    expect(page.locator("#lyrics-writer-fold .reason")).to_contain_text("only language models sample")
    expect(page.locator("#lyrics-seed input")).to_be_enabled()


def drag(page: Page, x: float, y: float, by: float) -> None:
    come_to_rest(page)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + by / 2, y + 5)
    page.mouse.move(x + by, y + 10)
    page.mouse.up()


def swipe(page: Page, x: float, y: float, by: float) -> None:
    come_to_rest(page)
    finger = page.context.new_cdp_session(page)
    for kind, at in (("touchStart", x), ("touchMove", x + by / 2), ("touchMove", x + by)):
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": at, "y": y}]})
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_a_silent_recording_is_refused_at_once_and_a_stretch_of_another_is_marked_by_mouse_touch_keys_and_numbers(
    page: Page, tmp_path: Path
) -> None:
    source = tmp_path / "tone.wav"
    soundfile.write(source, np.sin(np.arange(8 * 8000) / 9).astype(np.float32), 8000)
    pick(page, "edit")
    silence = tmp_path / "silence.wav"
    soundfile.write(silence, np.zeros(8000), 8000)
    page.locator("#edit-src-audio input[type=file]").set_input_files(silence)
    expect(page.locator("#edit-src-audio .fault-text")).to_contain_text("Source audio must not be silent")
    page.locator("#edit-src-audio input[type=file]").set_input_files(source)
    canvas, line = page.locator("#edit-form .region canvas"), page.locator("#edit-form .region p")
    start, end = page.locator("#edit-segment-start-s input"), page.locator("#edit-segment-end-s input")

    def holds(first: float, last: float) -> None:
        """The numbers and the waveform agree on the stretch, to a pixel or so of a drag."""
        expect(line).to_have_text(re.compile(f"^0:0({_near(first)}) – 0:0({_near(last)}) of 0:08\\.0$"))
        for field, edge in ((start, first), (end, last)):
            expect(field).to_have_value(re.compile(f"^({_near(edge).replace('.0', '(.0)?')})"))

    holds(2.5, 5.5)  # the middle, and not more than there is
    expect(page.locator("#edit-src-audio .waveform-container")).to_be_hidden()
    expect(page.locator(".fault-text")).to_have_count(0)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    second, left, y = box["width"] / 8, box["x"], box["y"] + 20
    page.mouse.click(left + second, y)
    holds(2.5, 5.5)
    drag(page, left + 6 * second, y, -4 * second)
    holds(2, 6)
    drag(page, left + 4 * second, y, second)  # the whole
    holds(3, 7)
    drag(page, left + 3 * second, y, -2 * second)  # an edge
    holds(1, 7)
    swipe(page, left + 7 * second, y, -2 * second)
    holds(1, 5)
    page.get_by_label("End of the stretch").press("ArrowRight")
    page.get_by_label("The whole stretch").press("PageUp")
    holds(2, 6.1)
    expect(page.get_by_label("Start of the stretch")).to_have_attribute(
        "aria-valuetext", re.compile(r"^0:0[12]\.[09]$")
    )
    page.get_by_role("button", name="Play the stretch").click()
    expect(page.locator("#edit-form .playhead")).to_be_visible()
    page.get_by_role("button", name="Stop").click()
    end.fill("3.5")
    expect(line).to_have_text(re.compile(r"– 0:03\.5 of 0:08\.0"))
    shoot(page, "region")


def _near(seconds: float) -> str:
    """The pattern of a number of seconds with a tenth more or less."""
    return "|".join(f"{seconds + tenths / 10:.1f}" for tenths in (-1, 0, 1))


# ---- for everyone ----------------------------------------------------------------------------------------------------


def test_the_keyboard_reaches_the_modes_the_fields_and_the_button_with_a_visible_focus(page: Page) -> None:
    for _ in range(4):  # past the links that skip the rail and the switch of the look
        page.keyboard.press("Tab")
    expect(page.locator("#modes input:checked")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#cover-form")).to_be_visible()
    page.keyboard.press("ArrowUp")
    expect(page.locator("#generate-form")).to_be_visible()
    seen = []
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.closest('[id]')?.id"))
        if seen[-1] == "run-generate":
            break
    assert seen[-1] == "run-generate"
    assert {"generate-prompt", "generate-lyrics", "generate-duration-s", "generate-instrumental"} <= set(seen)
    expect(page.locator("#run-generate")).to_have_css("outline", "rgb(255, 255, 255) solid 2px")


def test_everything_has_a_name_and_text_stands_out_from_its_ground(page: Page) -> None:
    assert page.locator("h1").all_inner_texts() == ["ACE MUSIC STUDIO"]
    for mode in MODES:
        pick(page, mode)
        for fold in page.locator(f"#{mode}-form .gr-accordion > button").all():
            fold.click()
        fields = page.locator(f"#{mode}-form").locator("input, textarea, button")
        assert fields.count() > 5
        assert fields.evaluate_all(NAMELESS) == []
        assert page.evaluate(CONTRAST) == []


def test_on_a_phone_everything_fits_and_the_button_is_in_reach(phone: Page) -> None:
    for mode in MODES:
        pick(phone, mode)
        width = phone.evaluate("document.documentElement.scrollWidth")
        assert width == phone.viewport_size["width"]  # type: ignore[index]
        wide = "e => [...e.querySelectorAll('*')].filter(x => x.getBoundingClientRect().right > innerWidth + 1)"
        wide += ".filter(x => !x.closest('.ideas')).length"  # a strip that scrolls by itself
        assert phone.locator("#work").evaluate(wide) == 0
        button = phone.locator(f"#run-{mode}").bounding_box()
        assert button is not None
        assert 600 < button["y"] < button["y"] + button["height"] <= 844
        assert button["height"] >= 44
    shoot(phone, "phone")


def test_on_a_phone_the_modes_are_one_strip_and_fields_do_not_make_it_zoom(phone: Page) -> None:
    pills = [pill.bounding_box() for pill in phone.locator("#modes label").all()]
    assert len({pill["y"] for pill in pills if pill}) == 1
    assert all(pill["height"] >= 40 for pill in pills if pill)
    for field in ("#generate-prompt textarea", "#generate-duration-s input"):
        assert phone.locator(field).evaluate("e => parseFloat(getComputedStyle(e).fontSize)") >= 16
    form, result = phone.locator("#work").bounding_box(), phone.locator("#result").bounding_box()
    assert form is not None and result is not None
    assert form["y"] + form["height"] <= result["y"] + 1

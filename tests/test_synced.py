"""Words with their times, in files that any player reads; where the times are a guess, a monotonic one."""

from __future__ import annotations

import io
import itertools

import av
import pytest

from lyrics.synced import SECTION_SIGN, TOLD, Line, Section, Sheet, estimated, read_lrc, to_lrc

WORDS = """[intro]
[verse]
Streetlights hum
The night is younger than the morning after all
[chorus]
We go home
We go home
[outro]
"""
LINES = (Line("Streetlights hum", 4.0, 6.25), Line("We go home", 12.34, 13.0), Line("oh oh oh", 14.0))
SECTIONS = (Section("verse", 4.0), Section("chorus", 12.34), Section("outro", 20.0))


def shown(lrc: str) -> list[tuple[float, str]]:
    """What FFmpeg, which many players are built on, shows of a file, in seconds."""
    with av.open(io.BytesIO(lrc.encode()), mode="r", format="lrc") as file:
        return [
            (round(float(packet.pts * packet.time_base), 2), bytes(packet).decode().strip())
            for packet in file.demux(subtitles=0)
            if packet.pts is not None and packet.time_base is not None
        ]


def test_a_file_names_its_song_says_how_its_times_were_found_and_lists_them_in_order() -> None:
    assert to_lrc(LINES, SECTIONS, "Going home", "score", 65.5).split("\n") == [
        "[ti:Going home]",
        "[length:01:05.50]",
        "[re:ACE Music Studio]",
        "[#:times exact, from the notes of the song]",
        "",
        "[00:04.00]♪ verse",
        "[00:04.00]Streetlights hum",
        "[00:06.25]",
        "[00:12.34]♪ chorus",
        "[00:12.34]We go home",
        "[00:14.00]oh oh oh",
        "[00:20.00]♪ outro",
        "",
    ]


@pytest.mark.parametrize("how", TOLD)
def test_what_is_written_is_read_back(how: str) -> None:
    lrc = to_lrc(LINES, SECTIONS, "Going home", how, 605.25)  # type: ignore[arg-type]
    read = read_lrc(lrc)
    kept = (LINES[0], LINES[1]._replace(end_s=None), LINES[2])  # the pause after the second is too short to show
    assert read == Sheet(lines=kept, sections=SECTIONS, title="Going home", how=how, length_s=605.25)  # type: ignore[arg-type]
    assert to_lrc(read.lines, read.sections, read.title, how, 605.25) == lrc  # type: ignore[arg-type]


AWKWARD = (
    "[chorus] of angels",
    "[00:01.00] not a time",
    "[ti:not a title]",
    "in the [00:01.00] middle",
    "word <00:01.00> by word",
    "two\nlines\r\nand \u2028 more\x0b\x00",
    "♪ la la la ♪",
    "i <3 you > me",
    "   blanks   around ",
    "夜空を見る [x]",
    "-1:00.00",
    "#",
)


@pytest.mark.parametrize("text", AWKWARD)
def test_no_text_breaks_the_format(text: str) -> None:
    lines = (Line("before", 1.0), Line(text, 2.0), Line("after", 3.0))
    lrc = to_lrc(lines, [Section(text, 2.0)], text, "plan", 10.0)
    read = read_lrc(lrc)
    assert [(line.start_s, line.end_s) for line in read.lines] == [(1.0, None), (2.0, None), (3.0, None)]
    words = read.lines[1].text
    assert read.sections == (Section(words, 2.0),)
    assert [char for char in text if char.isalnum()] == [char for char in words if char.isalnum()]
    assert read.title.lstrip(f"{SECTION_SIGN} ") == words
    assert read.length_s == 10.0
    assert shown(lrc) == [(1.0, "before"), (2.0, f"{SECTION_SIGN} {words}"), (2.0, words), (3.0, "after")]


def test_text_without_a_bracket_is_kept_to_the_letter() -> None:
    for text in (
        "don't (ever) go!",
        "Žluťoučký kůň",
        "夜空を見る",
        "a: b",
        "i <3 you",
        "e\u0301 family 👨\u200d👩\u200d👧",
    ):
        assert read_lrc(to_lrc([Line(text, 1.0)], [], text, "plan", 10.0)).lines == (Line(text, 1.0),)


def test_a_line_of_which_nothing_is_left_is_left_out() -> None:
    lrc = to_lrc([Line(" \n ", 1.0, 2.0), Line("♪♪", 3.0)], [Section("", 0.0)], "", "plan", 10.0)
    assert shown(lrc) == []
    assert read_lrc(lrc) == Sheet(lines=(), sections=(), how="plan", length_s=10.0)


def test_lines_of_one_moment_keep_their_order() -> None:
    lines = [Line(text, 1.001) for text in ("b", "a", "c")]
    assert [line.text for line in read_lrc(to_lrc(lines, [], "", "plan", 2.0)).lines] == ["b", "a", "c"]


def test_files_of_other_programs_are_read() -> None:
    sheet = read_lrc(
        "\ufeff[ti: Their song ]\r\n[ar:Somebody]\r\n[length: 2:23]\r\n[offset:+500]\r\nnot a line\r\n"
        "[00:21.10][00:45.5] again\r\n[00:12:00]first\r\n[1:00.123]<01:00.12>word <01:01.00>by word\r\n"
        "[00:02.00][Chorus]\r\n[00:00.10]early\r\n[00:50]\r\n[99:99.99x]no time\r\n"
    )
    assert sheet.title == "Their song"
    assert sheet.how is None
    assert sheet.length_s == 143.0
    assert sheet.sections == (Section("Chorus", 1.5),)
    assert [(line.text, line.start_s, line.end_s) for line in sheet.lines] == [
        ("early", 0.0, None),
        ("first", 11.5, None),
        ("again", 20.6, None),
        ("again", 45.0, 49.5),
        ("word by word", 59.623, None),
    ]


def test_what_is_no_file_of_the_kind_says_nothing() -> None:
    for text in ("", "\n\n", "only words", "[", "[]", "[00:]", "[offset:much]\n[length:long]"):
        assert read_lrc(text) == Sheet(lines=(), sections=())


def test_estimated_lines_follow_each_other_through_the_whole_song() -> None:
    lines, sections = estimated(WORDS, 60.0)
    assert [line.text for line in lines] == [line for line in WORDS.splitlines() if line and line[0] != "["]
    assert [section.tag for section in sections] == ["intro", "verse", "chorus", "outro"]
    assert sections[0].start_s == 0.0
    assert sections[1].start_s == lines[0].start_s
    assert sections[2].start_s == lines[2].start_s
    for first, second in itertools.pairwise(lines):
        assert first.end_s is not None
        assert first.start_s < first.end_s < second.start_s
    assert lines[-1].end_s is not None
    assert lines[-1].end_s < sections[3].start_s < 60.0


def test_a_longer_line_is_given_more_time() -> None:
    lines, _ = estimated(WORDS, 60.0)
    lengths = [(line.end_s or 0.0) - line.start_s for line in lines]
    assert lengths[1] / lengths[0] == pytest.approx(12 / 3)  # syllables
    assert lengths[2] == pytest.approx(lengths[3])


@pytest.mark.parametrize(
    ("short", "longer"),
    [
        ("夜空", "夜空を見ている"),
        ("ночь", "ночь темна и холодна"),
        ("été", "une journée d'été"),
        ("밤", "밤하늘을 보며"),
    ],
)
def test_other_scripts_have_their_syllables_too(short: str, longer: str) -> None:
    (first, second), _ = estimated(f"{short}\n{longer}", 30.0)
    assert second.end_s is not None and first.end_s is not None
    assert second.end_s - second.start_s > 1.5 * (first.end_s - first.start_s)


def test_words_without_tags_have_no_sections_and_an_instrumental_has_no_lines() -> None:
    lines, sections = estimated("one\n\ntwo", 10.0)
    assert ([line.text for line in lines], sections) == (["one", "two"], ())
    assert lines[0].start_s == 0.0
    assert estimated("[Instrumental]", 30.0) == ((), (Section("Instrumental", 0.0),))
    assert estimated("[intro]\n[solo]\n[outro]", 30.0)[1] == (
        Section("intro", 0.0), Section("solo", 10.0), Section("outro", 20.0),
    )  # fmt: skip
    assert estimated("  \n", 30.0) == ((), ())


def test_an_estimate_says_that_it_is_one() -> None:
    lines, sections = estimated(WORDS, 60.0)
    lrc = to_lrc(lines, sections, "song", "plan", 60.0)
    assert "[#:times estimated from the plan]" in lrc
    assert [line.text for line in read_lrc(lrc).lines] == [line.text for line in lines]

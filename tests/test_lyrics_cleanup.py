"""What a language model says around lyrics, and what is left of it; sections counted against those asked for."""

from __future__ import annotations

import random

import pytest

from core.knobs import parse
from core.lyrics import LyricsRequest
from lyrics.cleanup import Cleanup
from lyrics.line_counts import compared, differences, line_counts


def tidied(*pieces: str) -> str:
    cleanup = Cleanup()
    return "".join([*map(cleanup.feed, pieces), cleanup.finish()])


CLEAN = "[verse]\nSalt on the window\n\n[chorus]\nCome home, come home\n"
SPOKEN = {
    "nothing": CLEAN,
    "greeting": f"Sure! Here are the lyrics for your song:\n\n{CLEAN}",
    "greeting without a colon": f"Certainly, I wrote it in a tender tone.\nI hope you like it.\n\n{CLEAN}",
    "greeting right above": f"Here's a song about the sea, in three sections.\n{CLEAN}",
    "greeting in another language": f"¡Claro! Aquí tienes la letra:\n{CLEAN}",
    "greeting with a full-width colon": f"当然！以下是歌词：\n{CLEAN}",
    "title": f"Title: Harbor Lights\n\n{CLEAN}",
    "title in bold": f"**Harbor Lights**\n{CLEAN}",
    "title as a heading": f"# Harbor Lights\n\n---\n\n{CLEAN}",
    "fence": f"Of course!\n```\n{CLEAN}```\nLet me know if you want changes!",
    "fence with a language": f"```text\n{CLEAN}```",
    "end tag": f"{CLEAN}\n[end]\nFeel free to change it.",
    "end tag in bold": f"{CLEAN}\n**[END]**",
    "end tag in a sentence": f"{CLEAN}[end] Enjoy!",
    "tags in capitals": CLEAN.replace("[verse]", "[VERSE]").replace("[chorus]", "[Chorus]"),
    "tags in bold": CLEAN.replace("[verse]", "**[Verse]**").replace("[chorus]", "**[Chorus]:**"),
    "tags as headings": CLEAN.replace("[verse]", "### [Verse]").replace("[chorus]", "## Chorus"),
    "tags in bold without brackets": CLEAN.replace("[verse]", "**Verse:**").replace("[chorus]", "**Chorus**"),
    "tags with the request behind them": CLEAN.replace("[verse]", "[verse]: 6 lines").replace("us]", "us] (4 lines)"),
    "tags with colons": CLEAN.replace("[verse]", "Verse:").replace("[chorus]", "Chorus:"),
    "rules between sections": CLEAN.replace("\n\n", "\n\n---\n\n"),
    "empty lines": f"\n\n{CLEAN}".replace("\n\n[chorus]", "\n\n\n\n[chorus]") + "\n\n\n",
    "windows": CLEAN.replace("\n", "\r\n"),
    "spaces at line ends": CLEAN.replace("\n", "  \n"),
    "words in bold": CLEAN.replace("Salt", "**Salt**").replace("come home", "***come home***"),
    "a line in bold": CLEAN.replace("Come home, come home", "__Come home, come home__"),
    "no line break at the end": CLEAN.rstrip(),
}


@pytest.mark.parametrize("spoken", SPOKEN.values(), ids=SPOKEN)
def test_what_is_around_the_lyrics_is_left_out(spoken: str) -> None:
    assert tidied(spoken) == CLEAN


KEPT = (
    "[verse]\nSure, I loved you: here is my heart\n",
    "[verse]\nf**k it all, f**k it all\n",
    "[verse]\n2 * 3 * 4 and snake_case_words\n",
    "[verse]\n(ooh, ooh)\n*whispers* #1 hit\nwe are # 1 again\n#1\n",
    "[verse]\nTitle: none\nHere are the words:\n",
    "[verse]\nBreak\nSolo, bridge and verse\n[not a section]\nI said [verse] twice\n",
    "[Guitar: Anna]\n[Spoken Word]\nHELLO [Chorus] hello\n",
    "Walking along the shore\n[chorus]\nLa la\n",
    "[chorus] 4 lines to go\n[bridge]: without\n",
    "[verse]\n  indented\n\ttabbed\n",
    "[verse]\n雨の夜\nÀ bientôt\u2028mon\x0bami\n",
    "[verse]\n- one\n> two\n1. three\n",
    "[verse]\n[ending]\nthe end\n",
)


@pytest.mark.parametrize("text", KEPT)
def test_everything_else_stays_as_it_is(text: str) -> None:
    assert tidied(text) == text


def test_a_first_line_with_several_words_in_bold_is_no_title() -> None:
    assert tidied("**Hey** you **there**\n[chorus]\n") == "Hey you there\n[chorus]\n"


def test_known_tags_get_the_studios_form_and_keep_their_numbers() -> None:
    said = "[Verse 1]\n[PRE CHORUS]\n[Pre-Chorus]\n[Postchorus 2]\n## Verse 2\n[ Outro ]\n[Verse 1 - Anna]\n"
    assert tidied(said).split() == [
        *("[verse", "1]", "[pre-chorus]", "[pre-chorus]", "[post-chorus", "2]", "[verse", "2]", "[outro]"),
        *("[Verse", "1", "-", "Anna]"),
    ]


def test_a_text_comes_out_the_same_however_it_is_cut() -> None:
    rng = random.Random(1)
    for text in (*SPOKEN.values(), *KEPT, "".join(SPOKEN.values())):
        whole = tidied(text)
        for _ in range(20):
            cuts = sorted(rng.choices(range(len(text) + 1), k=rng.randrange(1, 12)))
            pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
            assert tidied(*pieces) == whole, pieces
        assert tidied(*text) == whole


def test_the_end_is_seen_before_its_line_is_over() -> None:
    cleanup = Cleanup()
    cleanup.feed("[verse]\nla\n[en")
    assert not cleanup.ended
    cleanup.feed("d]")
    assert cleanup.ended


def test_lines_come_as_soon_as_they_are_whole() -> None:
    cleanup = Cleanup()
    assert [cleanup.feed(piece) for piece in ("Sure!\n\n[Ver", "se]\nSalt", " and sand\nMo", "re\n")] == [
        *("", "[verse]\n", "Salt and sand\n", "More\n"),
    ]


# ---- counts ----------------------------------------------------------------------------------------------------------

ASKED = parse(LyricsRequest, {"brief": "x", "structure": "intro, verse, chorus, verse, chorus", "lines_verse": 2})


def song(*sections: tuple[str, int]) -> str:
    return "".join(f"[{name}]\n" + "la la\n" * lines for name, lines in sections)


def test_a_song_as_asked_for_has_no_differences() -> None:
    text = song(("intro", 0), ("verse 1", 2), ("chorus", 4), ("Verse 2", 2), ("chorus", 4))
    assert differences(ASKED, text) == ()
    assert [str(count) for count in compared(ASKED, text)] == [
        *("intro: 0 of 0", "verse 1: 2 of 2", "chorus 1: 4 of 4", "verse 2: 2 of 2", "chorus 2: 4 of 4"),
    ]


def test_differences_name_the_section_and_both_numbers() -> None:
    text = song(("intro", 1), ("verse", 2), ("chorus", 3), ("bridge", 2), ("chorus", 4))
    assert differences(ASKED, text) == (
        *("intro has 1 line instead of 0", "chorus 1 has 3 lines instead of 4"),
        *("verse 2 is missing", "bridge was not asked for"),
    )
    assert "verse 2: missing" in map(str, compared(ASKED, text))
    assert "bridge: 2, not asked for" in map(str, compared(ASKED, text))


def test_a_text_without_sections_lacks_them_all() -> None:
    assert differences(ASKED, "la la\n") == (
        *("intro is missing", "verse 1 is missing", "chorus 1 is missing", "verse 2 is missing"),
        "chorus 2 is missing",
    )
    assert line_counts("la la\n") == []

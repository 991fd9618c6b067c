"""What a planner can write: whatever it likes best, its plan parses, is in range, and is as long as the song."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from core.errors import CheckpointError, RequestError
from core.knobs import parse
from core.music import Fact, Music
from core.params import GenerateRequest
from core.plan_text import PlanText, read_output, read_plan
from core.tables import KEYSCALES, LANGUAGES, TIME_SIGNATURES
from networks.lm.sampling import Sampler, Sampling
from networks.lm.vocabulary import Vocabulary, open_vocabulary
from planner.lm.grammar import FIELDS, Choice, Decoding, Forced, caption, codes, facts, lyrics_text
from planner.lm.planner import follow
from planner.lm.prompts import (
    facts_of,
    facts_text,
    format_prompt,
    generate_prompt,
    inspire_prompt,
    thought_text,
    unconditional_prompt,
    understand_prompt,
)
from planner.lm.tokens import VALUES, TokenTables
from tests.tiny_lm import CODES, save_tokenizer

PARITY = Path(__file__).parent / "data" / "parity"
CASES = json.loads((PARITY / "prompts.json").read_text(encoding="utf-8"))
ROWS = json.loads((PARITY / "planner_rows.json").read_text(encoding="utf-8"))["cases"]
Logits = NDArray[np.float32]
Taste = Callable[[np.random.Generator], Logits]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    folder = tmp_path_factory.mktemp("planner")
    save_tokenizer(folder)
    return open_vocabulary(folder)


@pytest.fixture(scope="module")
def tables(words: Vocabulary) -> TokenTables:
    return TokenTables(words)


# ---- prompts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES["generate"])
def test_the_prompts_of_a_plan_are_upstreams(words: Vocabulary, case: Mapping[str, str]) -> None:
    assert words.decode(words.chatml(*generate_prompt(case["caption"], case["lyrics"]))) == case["prompt"]


@pytest.mark.parametrize("case", ROWS)
def test_both_rows_of_the_codes_are_upstreams(words: Vocabulary, case: Mapping[str, Any]) -> None:
    asked = words.decode(words.chatml(*generate_prompt(case["caption"], case["lyrics"])))
    dropped = words.decode(words.chatml(*unconditional_prompt(case["negative"])))
    assert asked == case["phase_1"]
    assert f"{asked}<think>{thought_text(case['metadata'])}</think>\n\n" == case["conditional"]
    assert f"{dropped}<think>{thought_text({})}</think>\n\n" == case["unconditional"]


@pytest.mark.parametrize("case", CASES["inspire"])
def test_the_prompts_of_a_line_are_upstreams(words: Vocabulary, case: Mapping[str, Any]) -> None:
    turns = inspire_prompt(case["query"], instrumental=case["instrumental"])
    assert words.decode(words.chatml(*turns)) == case["prompt"]


@pytest.mark.parametrize("case", CASES["format"])
def test_the_prompts_of_a_format_are_upstreams(words: Vocabulary, case: Mapping[str, str]) -> None:
    assert words.decode(words.chatml(*format_prompt(case["caption"], case["lyrics"]))) == case["prompt"]


def test_the_prompt_of_a_recording_is_its_codes_as_tokens(words: Vocabulary) -> None:
    (case,) = CASES["understand"]
    names = case["codes"].replace("18953", "195").replace("13833", "383")
    ids = words.chatml(*understand_prompt([195, 383], words))
    assert words.decode(ids) == case["prompt"].replace(case["codes"], names)
    assert sum(token in words.control_ids for token in ids) == 2 + 5


@pytest.mark.parametrize("case", CASES["metadata_yaml"])
def test_facts_are_written_as_upstream_writes_them(case: Mapping[str, Any]) -> None:
    assert f"<think>\n{facts_text(case['metadata'])}</think>" == case["think"]


@pytest.mark.parametrize("case", CASES["parse"])
def test_what_a_planner_writes_is_read_as_upstream_reads_it(case: Mapping[str, Any]) -> None:
    fields, tokens = read_output(case["text"])
    assert fields == {name: str(value) for name, value in case["metadata"].items()}
    assert "".join(f"<|audio_code_{code}|>" for code in tokens) == case["audio_codes"]


# ---- the grammar -----------------------------------------------------------------------------------------------------


class RandomModel:
    """A language model of random numbers that prefers some tokens; to the grammar one like any other."""

    runtime = "torch"

    def __init__(self, words: Vocabulary, seed: int, taste: Sequence[int] = (), keen: float = 12) -> None:
        self.vocabulary = words
        self._rng = np.random.default_rng(seed)
        self._taste, self._keen = np.array(taste, np.intp), np.float32(keen)
        self.read: list[int] = []
        self.closed = False

    def start(self, prompts: Sequence[Sequence[int]]) -> RandomModel:
        self._batch = len(prompts)
        return self

    def feed(self, ids: Sequence[int]) -> None:
        self.read += ids

    def logits(self, rows: range | None = None) -> Logits:
        logits = self._rng.normal(size=(self._batch, self.vocabulary.size), scale=4).astype(np.float32)
        logits[:, self._taste] += self._keen
        return logits if rows is None else logits[:, rows.start : rows.stop]

    def close(self) -> None:
        self.closed = True


def recorded(decoding: Decoding[Any], written: list[int]) -> Decoding[Any]:
    """The decoding; all that it writes, the end that no choice depends on included, is in the list."""
    answer = None
    while True:
        try:
            move = decoding.send(answer)
        except StopIteration as end:
            return end.value
        if isinstance(move, Forced):
            written += move.ids
        answer = yield move


def decoded(decoding: Decoding[Any], model: Any, sampler: Sampler, written: list[int] | None = None) -> Any:
    steps = follow(recorded(decoding, [] if written is None else written), model, [[1]], sampler)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def given_by(rng: random.Random) -> dict[str, Fact]:
    """User values for some of the fields."""
    values: dict[str, Fact] = {
        "bpm": rng.randint(30, 300),
        "caption": rng.choice(["calm piano", 'Lo-fi: dusty, "vinyl" 日本', "'quoted'", "no", "- a, b #c", "bpm: 92"]),
        "duration": rng.randint(10, 30),
        "keyscale": rng.choice(KEYSCALES),
        "language": rng.choice(LANGUAGES),
        "timesignature": rng.choice(TIME_SIGNATURES),
    }
    return {name: value for name, value in values.items() if rng.random() < 0.4}


TASTES: Mapping[str, str] = {
    "anything": "",
    "field names": "bpm: caption: duration: keyscale: language: timesignature: codes: 92",
    "colons and quotes": ":'\"\": '' : - #",
    "newlines": "\n \n\n  \n a",
    "CJK": "日本の夜の雨 夜夜の雨",
    "tags": "<think></think><|audio_code_7|>```",
}


@pytest.mark.parametrize("taste", TASTES)
def test_two_thousand_random_plans_parse_and_are_in_range(words: Vocabulary, tables: TokenTables, taste: str) -> None:
    """A third of a thousand for each taste; every one is read back from its tokens, a fifth of them with codes."""
    liked = [token for token in words.encode(TASTES[taste]) if token in set(tables.caption.tolist())]
    for seed in range(340):
        rng = random.Random(seed)
        given = given_by(rng)
        model = RandomModel(words, seed, liked)
        sampler = Sampler(Sampling(temperature=rng.choice([0, 0.85, 2]), top_p=rng.choice([0.5, 1])), seed)
        ids: list[int] = []
        known = decoded(facts(tables, given, FIELDS, rng.choice([5, 40])), model, sampler, ids)
        count = 5 * int(known["duration"]) if seed % 40 == 0 or (int(known["duration"]) <= 30 and seed % 2) else 0
        tokens = decoded(codes(tables, count), model, sampler, ids)
        written = words.decode(ids)
        fields, read = read_output(written)
        assert (read, len(read)) == (tokens, count)
        assert fields == {name: str(value) for name, value in known.items()}, written
        assert list(known) == list(FIELDS)
        for name, value in known.items():
            assert value == given.get(name, value)
            assert name == "caption" or str(value) in VALUES[name]
        assert known["caption"] and "\n" not in str(known["caption"])
        assert all(0 <= code < CODES for code in tokens)
        again = read_plan(written)
        assert facts_of(again.music) == known
        assert again.codes == (tokens or None)
        controls = [token for token in ids if token in words.control_ids]
        assert controls == [words.control("<think>"), words.control("</think>"), *(tables.codes[c] for c in tokens)]


def test_a_field_that_nobody_wants_is_left_out(words: Vocabulary, tables: TokenTables) -> None:
    ids: list[int] = []
    known = decoded(facts(tables, {"bpm": 92}, ("keyscale",)), RandomModel(words, 1), Sampler(Sampling(), 1), ids)
    assert words.decode(ids) == f"<think>\nbpm: 92\nkeyscale: {known['keyscale']}\n</think>"
    assert list(known) == ["bpm", "keyscale"]


def test_names_and_common_beginnings_are_written_without_asking(words: Vocabulary, tables: TokenTables) -> None:
    asked = []

    class Counting(Sampler):
        def pick(self, logits: Logits, **how: Any) -> int:
            token = super().pick(logits, **how)
            asked.append(words.bytes_of(token))
            return token

    decoded(facts(tables, {}, ("timesignature",)), RandomModel(words, 2), Counting(Sampling(), 2))
    assert len(asked) == 1 and asked[0].strip() in {b"2", b"3", b"4", b"6"}


@pytest.mark.parametrize("limit", [1, 5, 40])
@pytest.mark.parametrize("taste", TASTES)
def test_a_caption_stops_at_its_limit_and_splits_no_character(
    words: Vocabulary, tables: TokenTables, taste: str, limit: int
) -> None:
    inner = set(tables.caption_line.tolist()) - set(tables.caption_line_start.tolist())
    liked = [token for token in words.encode(TASTES[taste]) if token in inner]
    halves = [words.encode("😀")[0], words.encode("夜")[0]]
    for seed in range(40):
        ids: list[int] = []
        model = RandomModel(words, seed, [*liked, *halves])
        said = decoded(caption(tables, limit), model, Sampler(Sampling(), seed), ids)
        raw = b"".join(map(words.bytes_of, ids))
        assert len(ids) <= limit + 4
        assert said == " ".join(raw.decode("utf-8").split())
        assert "`" not in said and "<" not in said


def test_a_caption_goes_on_over_indented_lines_alone(words: Vocabulary, tables: TokenTables) -> None:
    def said(text: str) -> str:
        ids = iter([*words.encode(text), words.encode("key")[0]])
        decoding = caption(tables)
        move = next(decoding)
        while True:
            try:
                if hasattr(move, "allowed"):
                    token = next(ids)
                    assert token in move.allowed, (text, words.bytes_of(token))
                    move = decoding.send(token)
                else:
                    move = next(decoding)
            except StopIteration as end:
                return str(end.value)

    assert said(" A calm piano\n  piece: with colon.\n") == "A calm piano piece: with colon."
    assert said(" Soft,\n   wide\n  and 夜 \n") == "Soft, wide and 夜"


def dictated(decoding: Decoding[Any], ids: Sequence[int]) -> tuple[Any, list[int]]:
    """What the decoding returns for these answers, and all that it wrote; each answer must be allowed."""
    answers, written = iter(ids), list[int]()
    answer = None
    while True:
        try:
            move = decoding.send(answer)
        except StopIteration as end:
            return end.value, written
        answer = None
        if isinstance(move, Forced):
            written += move.ids
        elif isinstance(move, Choice):
            answer = next(answers)
            assert answer in move.allowed


def test_lyrics_end_where_the_model_ends_them_and_hold_no_codes(words: Vocabulary, tables: TokenTables) -> None:
    end = words.control("<|im_end|>")
    model = RandomModel(words, 3, words.encode("[Verse]\nRain 日本\n\n[Chorus]\n"))
    ids: list[int] = []
    said = decoded(lyrics_text(tables, 60), model, Sampler(Sampling(), 3), ids)
    assert said == words.decode(ids).strip()
    assert "\n" in said and not words.control_ids & set(ids)
    ending = RandomModel(words, 3, [end], keen=99)
    assert decoded(lyrics_text(tables, 60), ending, Sampler(Sampling(temperature=0), 3)) == ""


@pytest.mark.parametrize(
    ("text", "lyrics"),
    [
        ("\n\n# Lyric\n[verse]\nRain", "[verse]\nRain"),
        ("\n\n# Lyrics\n[verse]\nRain\n", "[verse]\nRain"),
        ("\n\n[verse]\nRain\n# Lyric\n", "[verse]\nRain\n# Lyric"),
        ("\n\n# Lyric", ""),
    ],
)
def test_a_heading_is_the_models_own_and_no_part_of_the_lyrics(
    words: Vocabulary, tables: TokenTables, text: str, lyrics: str
) -> None:
    ids = words.encode(text)
    assert dictated(lyrics_text(tables), [*ids, words.control("<|im_end|>")]) == (lyrics, ids)


@pytest.mark.parametrize("genres", ["genres: A calm piano\n", ""])
def test_a_draft_may_have_a_line_of_genres(words: Vocabulary, tables: TokenTables, genres: str) -> None:
    beginning = words.encode(genres or "keyscale:")[0]
    answers = [beginning, *words.encode(genres.removeprefix("genres:")), words.encode("keyscale:")[0]]
    decoding = facts(tables, {"duration": 30, "keyscale": "C major"}, (), genres=True)
    known, written = dictated(decoding, answers)
    assert words.decode(written) == f"<think>\nduration: 30\n{genres}keyscale: C major\n</think>"
    assert known == {"duration": 30, "keyscale": "C major"}


def test_drafts_are_read_as_they_were_written_with_genres_or_without(words: Vocabulary, tables: TokenTables) -> None:
    seen = set()
    for seed in range(30):
        ids: list[int] = []
        decoding = facts(tables, {}, FIELDS, 12, genres=True)
        known = decoded(decoding, RandomModel(words, seed), Sampler(Sampling(), seed), ids)
        assert facts_of(read_plan(words.decode(ids)).music) == known
        seen.add("\ngenres:" in words.decode(ids))
    assert seen == {True, False}


def test_a_plan_of_a_song_has_no_genres(words: Vocabulary, tables: TokenTables) -> None:
    liked = words.encode("genres:")
    for seed in range(20):
        ids: list[int] = []
        decoded(
            facts(tables, {}, ("duration", "keyscale")), RandomModel(words, seed, liked), Sampler(Sampling(), 1), ids
        )
        assert "genres" not in words.decode(ids)


@pytest.mark.parametrize("seed", range(20))
def test_the_language_is_the_likeliest_whatever_the_temperature(
    words: Vocabulary, tables: TokenTables, seed: int
) -> None:
    hot = Sampler(Sampling(temperature=2, repetition_penalty=2), seed)
    cold = Sampler(Sampling(temperature=0), seed)
    drawn, best = (decoded(facts(tables, {}, ("language",)), RandomModel(words, seed), how) for how in (hot, cold))
    assert drawn == best


def test_codes_that_mean_nothing_are_never_written(tmp_path: Path) -> None:
    save_tokenizer(tmp_path, codes=64_020)
    tables = TokenTables(open_vocabulary(tmp_path))
    assert len(tables.codes) == 64_000
    assert tables.vocabulary.bytes_of(tables.codes[63_999]) == b"<|audio_code_63999|>"


def test_a_vocabulary_without_codes_is_no_planners(tmp_path: Path) -> None:
    save_tokenizer(tmp_path, codes=0)
    with pytest.raises(CheckpointError, match="audio_code_0"):
        _ = TokenTables(open_vocabulary(tmp_path)).codes


def test_whole_lines_hold_tokens_that_lie_across_the_name_and_the_value(words: Vocabulary, tables: TokenTables) -> None:
    for field in VALUES:
        for line, value in tables.lines(field).items():
            assert words.decode(line) == f"{field}: {value}\n"
            assert [*words.encode("bpm: 92\n"), *line] == words.encode(f"bpm: 92\n{field}: {value}\n")


def test_a_language_that_yaml_takes_for_false_stays_a_language(words: Vocabulary, tables: TokenTables) -> None:
    assert facts_text({"language": "no"}) == "language: 'no'\n"
    assert read_plan("language: 'no'") == read_plan("language: no") == PlanText(music=Music(language="no"))


def test_a_decoding_that_is_left_closes_its_session(words: Vocabulary, tables: TokenTables) -> None:
    model = RandomModel(words, 4)
    steps = follow(codes(tables, 50), model, [[1]], Sampler(Sampling(), 4))  # type: ignore[arg-type]
    for _ in range(7):
        next(steps)
    steps.close()
    assert model.closed and len(model.read) == 6


# ---- plans as text ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "caption_",
    ["calm piano", "</think> <|audio_code_7|>", '"all of it"', "'tis", "codes: 1 2", "bpm: 3", "- a: [b] #c", "日本"],
)
def test_a_plan_is_read_as_it_was_written(caption_: str) -> None:
    plan = PlanText(music=Music(bpm=92, caption=caption_, duration_s=12.5, language="no"), codes=tuple(range(62)))
    assert read_plan(str(plan)) == plan


def test_a_plan_in_a_planners_own_words_is_read_too() -> None:
    tokens = "".join(f"<|audio_code_{code}|>" for code in range(50))
    plan = read_plan(f"<think>\nbpm: 92\ncaption: 'a: b'\nkeyscale: C major\n</think>\n\n{tokens}")
    assert plan == PlanText(
        music=Music(bpm=92, caption="a: b", keyscale="C major", duration_s=10), codes=tuple(range(50))
    )


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("bpm: 20", "a bpm from 30 to 300"),
        ("bpm: fast", "a bpm from 30 to 300"),
        ("bpm: ９２", "a bpm from 30 to 300"),
        ("keyscale: H major", "a keyscale that is one of C major"),
        ("language: klingon", "a language that is one of ar"),
        ("timesignature: 5", "a timesignature that is one of 2, 3, 4, 6"),
        ("duration: nan", "a duration from 10 to 600"),
        ("duration: 1e9", "a duration from 10 to 600"),
        ("codes: 1 2", "a duration from 10 to 600"),
        (f"duration: 20\ncodes: {' '.join(['5'] * 50)}", "must have 100 codes for 20 seconds"),
        ("codes: 1 x", "codes that are whole numbers from 0 to 63999"),
        ("codes: 64000", "codes that are whole numbers from 0 to 63999"),
        ("codes:", "codes that are whole numbers from 0 to 63999"),
        ("tempo: 92", "must name bpm, caption"),
        ("  bpm: 92", None),
        ("hello", "must be lines such as bpm: 92"),
        (f"caption: {'a' * 2001}", "at most 2000 characters"),
    ],
)
def test_a_plan_that_breaks_a_rule_is_refused_with_it(text: str, rule: str | None) -> None:
    if rule is None:
        assert read_plan(text).music.bpm == 92
        return
    with pytest.raises(RequestError, match=rule):
        parse(GenerateRequest, {"prompt": "x", "plan": text})


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"thinking": False, "lm_top_k": 5}, "lm_top_k"),
        ({"thinking": False, "use_cot_metas": False}, "use_cot_metas"),
        ({"use_cot_metas": False, "use_cot_caption": False}, "use_cot_caption"),
        ({"bpm": 92, "keyscale": "C major", "timesignature": "3", "use_cot_caption": False}, "use_cot_caption"),
        ({"vocal_language": "fr", "use_cot_language": False}, "use_cot_language"),
        ({"lyrics": "", "use_cot_language": False}, "use_cot_language"),
        ({"lm_cfg_scale": 1, "lm_negative_prompt": "noise"}, "lm_negative_prompt"),
        ({"lm_temperature": 0, "lm_top_p": 0.5}, "lm_top_p"),
        ({"plan": f"codes: {'5 ' * 50}", "lm_closed_turn": True}, "lm_closed_turn"),
        ({"plan": "caption: x", "use_cot_caption": False}, "use_cot_caption"),
        ({"plan": "bpm: 92", "bpm": 93}, "bpm"),
        ({"plan": "duration: 20", "duration_s": 31}, "duration_s"),
    ],
)
def test_knobs_that_mean_nothing_beside_the_others_are_refused(values: dict[str, object], field: str) -> None:
    with pytest.raises(RequestError) as refused:
        parse(GenerateRequest, {"prompt": "x", "lyrics": "y", **values})
    assert [fault.field for fault in refused.value.faults] == [field]


def test_values_that_say_the_same_as_the_plan_are_taken() -> None:
    request = parse(GenerateRequest, {"prompt": "x", "plan": "bpm: 92\nduration: 20", "bpm": 92, "duration_s": 20})
    assert (request.music.duration_s, request.music.bpm) == (20, 92)

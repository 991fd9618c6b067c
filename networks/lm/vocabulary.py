"""Text to tokens and back: what a user typed is always text, and only the studio decides what is a control token."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

from tokenizers import Tokenizer

from core.errors import CheckpointError

Role = Literal["system", "user", "assistant"]
Piece = str | int
"""Some plain text, or the id of one token."""

DOWNLOAD_AGAIN = "Download it again."

IM_START, IM_END = "<|im_start|>", "<|im_end|>"


class Message(NamedTuple):
    """One chat turn."""

    role: Role
    content: str


@dataclass(frozen=True)
class Vocabulary:
    """A byte-level tokenizer, taken apart: its plain half, which knows text alone, and its control tokens.

    `spelled[id]` are the bytes of a token, None for an id that spells nothing; `controls` are the tokens that stand
    outside the text, by name. The plain half cannot produce a control token, however it is spelled.
    """

    plain: Tokenizer
    controls: Mapping[str, int]
    spelled: tuple[bytes | None, ...]
    folder: Path

    @property
    def size(self) -> int:
        """One more than the largest id."""
        return len(self.spelled)

    @cached_property
    def control_ids(self) -> frozenset[int]:
        """The ids of all control tokens."""
        return frozenset(self.controls.values())

    def control(self, name: str) -> int:
        """The id of a control token. Raises CheckpointError when the model has none of that name."""
        if name not in self.controls:
            raise CheckpointError(
                f"The tokenizer in {self.folder.name} has no token {name}.", "Choose a checkpoint made for this."
            )
        return self.controls[name]

    def encode(self, text: str) -> list[int]:
        """The ids of plain text; `<|im_end|>` typed in it is seven tokens of text, or as many as it takes."""
        ids: list[int] = self.plain.encode(text, add_special_tokens=False).ids
        return ids

    def join(self, *pieces: Piece) -> list[int]:
        """The ids of a text that is put together from plain texts and control tokens.

        Neighbouring texts are encoded as one: a token may lie across their seam, as in the text that a model read
        when it was trained.
        """
        ids: list[int] = []
        text = ""
        for piece in pieces:
            if isinstance(piece, str):
                text += piece
            else:
                ids += [*self.encode(text), piece]
                text = ""
        return ids + self.encode(text)

    def bytes_of(self, token: int) -> bytes:
        """What a token spells, in bytes, for a character may be cut in two; a control token spells its name."""
        return self.spelled[token] or b""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of the ids, control tokens with their names; halves of characters become U+FFFD."""
        return b"".join(map(self.bytes_of, ids)).decode("utf-8", "replace")

    def check_rows(self, rows: int) -> None:
        """Raise CheckpointError when a head of so many rows lacks one for a token."""
        if rows < self.size:
            raise CheckpointError(f"{self.folder.name} has {rows} rows for {self.size} tokens.", DOWNLOAD_AGAIN)

    def chatml(self, *turns: tuple[Role, Sequence[Piece]]) -> list[int]:
        """The ids of chat turns in ChatML, the assistant's turn open at their end."""
        start, end = self.control(IM_START), self.control(IM_END)
        pieces: list[Piece] = []
        for role, content in turns:
            pieces += [start, f"{role}\n", *content, end, "\n"]
        return self.join(*pieces, start, "assistant\n")

    def chat(self, messages: Sequence[Message]) -> list[int]:
        """The ids of a conversation in the tokenizer's own chat template, the assistant's turn open at its end.

        A folder without a template gets ChatML. The contents stay text: only the template's own control tokens count.
        """
        template = self._template
        if template is None:
            return self.chatml(*((message.role, [message.content]) for message in messages))
        # The template is filled in with marks, so that it can be separated from what the user wrote.
        marks = [f"\ue000{number}\ue001" for number in range(len(messages))]
        marked = [{"role": each.role, "content": mark} for each, mark in zip(messages, marks, strict=True)]
        contents = {mark: each.content for mark, each in zip(marks, messages, strict=True)}
        names = sorted(self.controls, key=len, reverse=True)
        separators = "|".join(re.escape(name) for name in (*names, *marks))
        parts: list[str] = re.split(f"({separators})", template.fill(marked))
        pieces = [contents[part] if part in contents else self.controls.get(part, part) for part in parts]
        return self.join(*pieces)

    @cached_property
    def _template(self) -> _Template | None:
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
        except (OSError, ValueError, KeyError):
            return None
        return _Template(tokenizer) if tokenizer.chat_template else None


@dataclass(frozen=True)
class _Template:
    """The chat template of a tokenizer."""

    tokenizer: object

    def fill(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The conversation as the template writes it, the assistant's turn open at its end."""
        apply = getattr(self.tokenizer, "apply_chat_template")  # noqa: B009
        return str(apply(list(messages), tokenize=False, add_generation_prompt=True))


def unloadable(folder: Path) -> CheckpointError:
    """The error for a language model whose weights cannot be loaded."""
    return CheckpointError(f"The language model in {folder.name} cannot be loaded.", DOWNLOAD_AGAIN)


def open_vocabulary(folder: Path) -> Vocabulary:
    """The vocabulary in `folder/tokenizer.json`. Raises CheckpointError when it is none, or not of bytes."""
    path = folder / "tokenizer.json"
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
        controls: dict[str, int] = {each["content"]: each["id"] for each in described["added_tokens"]}
        words: dict[str, int] = described["model"]["vocab"]
    except (OSError, ValueError, KeyError, TypeError) as broken:
        raise CheckpointError(f"{path.name} in {folder.name} cannot be read.", DOWNLOAD_AGAIN) from broken
    # Added tokens are recognised in any text: a tokenizer without them reads their names as text.
    described["model"]["vocab"] = words = {text: token for text, token in words.items() if text not in controls}
    try:
        plain = Tokenizer.from_str(json.dumps({**described, "added_tokens": [], "post_processor": None}))
    except Exception as broken:  # what tokenizers raises has no class of its own
        raise CheckpointError(f"{path.name} in {folder.name} cannot be read.", DOWNLOAD_AGAIN) from broken
    spelled: list[bytes | None] = [None] * (max([*words.values(), *controls.values()]) + 1)
    letters = _byte_letters()
    for text, token in words.items():
        if not letters.keys() >= set(text):
            raise CheckpointError(f"{path.name} in {folder.name} is not one of bytes.", "Choose a Qwen model.")
        spelled[token] = bytes(letters[letter] for letter in text)
    for text, token in controls.items():
        spelled[token] = text.encode()
    return Vocabulary(plain, controls, tuple(spelled), folder)


def _byte_letters() -> dict[str, int]:
    """The byte that each letter of a byte-level vocabulary stands for (GPT-2's `bytes_to_unicode`, reversed)."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + index): byte for index, byte in enumerate(hidden)}

"""Language models on torch: transformers' modules, driven token by token on CUDA, Apple's MPS or the CPU."""

from __future__ import annotations

import copy
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from core.errors import CheckpointError
from networks.lm.prompt_cache import PromptCache
from networks.lm.stored import check_family, head_is_tied
from networks.lm.torch_kv_cache import KvCache
from networks.lm.vocabulary import DOWNLOAD_AGAIN, Vocabulary, open_vocabulary, unloadable
from networks.torch_device import dtype_on, free_memory, leave_between_layers, open_device

if TYPE_CHECKING:
    from networks.machine import DType, RuntimeName


def opening(
    folder: Path, *, device: str | None = None, dtype: DType | None = None
) -> Generator[None, None, TorchModel]:
    """Load the language model in `folder`; `device` and `dtype` as in `open_device` and `dtype_on`.

    It is read from the disk in one step and brought to the device module by module. Raises CheckpointError for a folder
    that holds none, and StudioError for a device that the machine lacks.
    """
    target = open_device(device)
    vocabulary = open_vocabulary(folder)
    yield
    disable_progress_bar()  # of loading, drawn on stderr, where the studio draws its own
    try:
        check_family(folder)
        network, report = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype_on(target, dtype),
            tie_word_embeddings=head_is_tied(folder),
            attn_implementation="sdpa",
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as broken:
        raise unloadable(folder) from broken
    _check(network, report, vocabulary, folder)
    for module in network.eval().modules():
        yield
        if not list(module.children()):
            module.to(target)
    leave_between_layers([network], target)
    return TorchModel(network.to(target), vocabulary, target)


def _check(network: nn.Module, report: dict[str, set[str]], vocabulary: Vocabulary, folder: Path) -> None:
    """Raise CheckpointError for weights that are incomplete or not the tokenizer's."""
    absent = sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))
    if absent:
        raise CheckpointError(f"{folder.name} lacks {len(absent)} tensors, {absent[0]} first.", DOWNLOAD_AGAIN)
    vocabulary.check_rows(int(network.config.vocab_size))  # type: ignore[union-attr, arg-type]


class TorchModel:
    """A LanguageModel on torch; caches what it has read of the last long prompts."""

    runtime: RuntimeName = "torch"

    def __init__(self, network: nn.Module, vocabulary: Vocabulary, device: torch.device) -> None:
        self.vocabulary = vocabulary
        self.device = device
        self.body: nn.Module = network.base_model  # type: ignore[assignment]
        self.head: Tensor = network.get_output_embeddings().weight  # type: ignore[operator]
        self._prompts: PromptCache[TorchSession] = PromptCache()

    def start(self, prompts: Sequence[Sequence[int]]) -> TorchSession:
        """Read the prompts, or copy the session of the same ones that is cached."""
        return self._prompts.session(prompts, lambda key: TorchSession(self, key))

    def close(self) -> None:
        """Free the weights and the cached sessions."""
        self._prompts.clear()
        del self.body, self.head
        free_memory(self.device)


class TorchSession:
    """A Session on torch. Shorter prompts are padded at their left, and no token attends to the padding."""

    def __init__(self, model: TorchModel, prompts: Sequence[Sequence[int]]) -> None:
        self.model = model
        longest = max(map(len, prompts))
        pads = [longest - len(prompt) for prompt in prompts]
        self.rows = len(pads)
        with torch.inference_mode():
            self.kv_cache = KvCache(
                model.body, torch.tensor(pads, device=model.device), longest, static=model.device.type == "cuda"
            )
            padded = [[0] * pad + list(prompt) for pad, prompt in zip(pads, prompts, strict=True)]
            self.states = self.kv_cache.read(torch.tensor(padded, device=model.device))

    def feed(self, ids: Sequence[int]) -> None:
        """Read these tokens in every row."""
        if ids:
            with torch.inference_mode():
                self.states = self.kv_cache.read(torch.tensor([list(ids)] * self.rows, device=self.model.device))

    def logits(self, rows: range | None = None) -> NDArray[np.float32]:
        """Logits `(B, V)`, or `(B, len(rows))` from the head's rows of these token ids alone."""
        ids = range(self.model.vocabulary.size) if rows is None else rows
        with torch.inference_mode():
            logits = linear(self.states, self.model.head[ids.start : ids.stop]).float().cpu()
        return logits.numpy()

    def copy(self) -> TorchSession:
        """Another session that has read the same."""
        other = copy.copy(self)
        with torch.inference_mode():
            other.kv_cache = self.kv_cache.copy()
        return other

    def close(self) -> None:
        """Free the key-value cache."""
        del self.kv_cache, self.states

"""Language models on torch: transformers' modules, driven token by token on CUDA, Apple's MPS or the CPU."""

from __future__ import annotations

import copy
import gc
from collections.abc import Sequence
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
from networks.lm.prompt_cache import Remembered
from networks.lm.torch_cache import Memory
from networks.lm.vocabulary import Vocabulary, open_vocabulary

if TYPE_CHECKING:
    from networks.machine import DType, RuntimeName

FAMILIES = ("qwen2", "qwen3")
"""The architectures whose decoder takes a mask for each layer type, which is how a batch is padded here."""


def open_torch_model(folder: Path, *, device: str | None = None, dtype: DType | None = None) -> TorchModel:
    """See lm.open_language_model; None takes the machine's best device, and float32 on a CPU, else bfloat16."""
    from networks.acestep.torch.runtime import default_device

    place = torch.device(device or default_device())
    kind: torch.dtype = getattr(torch, dtype or ("float32" if place.type == "cpu" else "bfloat16"))
    vocabulary = open_vocabulary(folder)
    disable_progress_bar()  # of loading, drawn on stderr, where the studio draws its own
    try:
        network, report = AutoModelForCausalLM.from_pretrained(
            folder, dtype=kind, attn_implementation="sdpa", local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as broken:
        raise CheckpointError(
            f"The language model in {folder.name} cannot be loaded.", "Download it again."
        ) from broken
    _check(network, report, vocabulary, folder)
    return TorchModel(network.eval().to(place), vocabulary, place)


def _check(network: nn.Module, report: dict[str, set[str]], vocabulary: Vocabulary, folder: Path) -> None:
    """Nothing; raises CheckpointError for weights that are incomplete, of another family, or not the tokenizer's."""
    absent = sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))
    kind, rows = str(network.config.model_type), int(network.config.vocab_size)  # type: ignore[union-attr, arg-type]
    if kind not in FAMILIES:
        raise CheckpointError(f"{folder.name} is a {kind}.", f"Choose one of the families {', '.join(FAMILIES)}.")
    if absent:
        raise CheckpointError(f"{folder.name} lacks {len(absent)} tensors, {absent[0]} first.", "Download it again.")
    if rows < vocabulary.size:
        raise CheckpointError(f"{folder.name} has {rows} rows for {vocabulary.size} tokens.", "Download it again.")


class TorchModel:
    """See lm.LanguageModel. Keeps what it has read of the last long prompts."""

    runtime: RuntimeName = "torch"

    def __init__(self, network: nn.Module, vocabulary: Vocabulary, device: torch.device) -> None:
        self.vocabulary = vocabulary
        self.device = device
        self.body: nn.Module = network.base_model  # type: ignore[assignment]
        self.head: Tensor = network.get_output_embeddings().weight  # type: ignore[operator]
        self._read: Remembered[TorchSession] = Remembered()

    def start(self, prompts: Sequence[Sequence[int]]) -> TorchSession:
        """See lm.LanguageModel.start."""
        return self._read.session(prompts, lambda key: TorchSession(self, key))

    def close(self) -> None:
        """See lm.LanguageModel.close."""
        self._read.clear()
        del self.body, self.head
        gc.collect()
        if self.device.type != "cpu":
            getattr(torch, self.device.type).empty_cache()


class TorchSession:
    """See lm.Session. Shorter prompts are padded at their left, and no token looks at the padding."""

    def __init__(self, model: TorchModel, prompts: Sequence[Sequence[int]]) -> None:
        self.model = model
        longest = max(map(len, prompts))
        pads = [longest - len(prompt) for prompt in prompts]
        self.rows = len(pads)
        with torch.inference_mode():
            self.memory = Memory(
                model.body, torch.tensor(pads, device=model.device), longest, fixed=model.device.type == "cuda"
            )
            padded = [[0] * pad + list(prompt) for pad, prompt in zip(pads, prompts, strict=True)]
            self.state = self.memory.read(torch.tensor(padded, device=model.device))

    def feed(self, ids: Sequence[int]) -> None:
        """See lm.Session.feed."""
        if ids:
            with torch.inference_mode():
                self.state = self.memory.read(torch.tensor([list(ids)] * self.rows, device=self.model.device))

    def logits(self, rows: range | None = None) -> NDArray[np.float32]:
        """See lm.Session.logits."""
        asked = range(self.model.vocabulary.size) if rows is None else rows
        with torch.inference_mode():
            told = linear(self.state, self.model.head[asked.start : asked.stop]).float().cpu()
        return told.numpy()

    def copy(self) -> TorchSession:
        """Another session that has read the same."""
        twin = copy.copy(self)
        with torch.inference_mode():
            twin.memory = self.memory.copy()
        return twin

    def close(self) -> None:
        """See lm.Session.close."""
        del self.memory, self.state

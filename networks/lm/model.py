"""Language models behind one interface: tokens in, logits out, whichever framework runs them.

What is written, by what grammar and with which random numbers, is decided above, on the host and in numpy: both
frameworks serve the same sampler. Importing this module loads no framework; `open_language_model` does.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from core.steps import aside, finished, importing
from networks.machine import default_runtime, import_mlx

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from networks.lm.vocabulary import Vocabulary
    from networks.machine import Bits, DType, RuntimeName


class Session(Protocol):
    """A text being written: a batch of prompts of any lengths that continue with the same tokens."""

    def feed(self, ids: Sequence[int]) -> None:
        """Read these tokens in every row."""
        ...

    def logits(self, rows: range | None = None) -> NDArray[np.float32]:
        """Logits `(B, V)` of the next token, or `(B, len(rows))` of these token ids alone, at their cost alone.

        V is the vocabulary's size: rows of the head that no token belongs to are left out.
        """
        ...

    def close(self) -> None:
        """Free the key-value cache."""
        ...


class LanguageModel(Protocol):
    """A causal language model with its tokenizer, ready to run."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The tokenizer, and what each token spells."""
        ...

    @property
    def runtime(self) -> RuntimeName:
        """The framework that runs it."""
        ...

    def start(self, prompts: Sequence[Sequence[int]]) -> Session:
        """A session that has read the prompts, one for each row."""
        ...

    def close(self) -> None:
        """Free the weights; the model cannot be used again."""
        ...


def open_language_model(
    folder: Path,
    *,
    runtime: RuntimeName | None = None,
    device: str | None = None,
    dtype: DType | None = None,
    bits: Bits | None = None,
) -> LanguageModel:
    """As `opening`, at once."""
    return finished(opening(folder, runtime=runtime, device=device, dtype=dtype, bits=bits))


def opening(
    folder: Path,
    *,
    runtime: RuntimeName | None = None,
    device: str | None = None,
    dtype: DType | None = None,
    bits: Bits | None = None,
) -> Generator[None, None, LanguageModel]:
    """Load the causal language model in `folder`, as transformers' `save_pretrained` writes it, in steps.

    None chooses for the machine. `bits` quantises the weights, on MLX; torch runs them as they are. Raises
    CheckpointError for a folder that holds none.
    """
    name = runtime or default_runtime(device).runtime
    if name == "mlx":
        yield from aside(import_mlx)
    yield from importing(f"{__package__}.{name}_model")
    if name == "mlx":
        from networks.lm import mlx_model

        return (yield from mlx_model.opening(folder, dtype=dtype, bits=bits))
    from networks.lm import torch_model

    return (yield from torch_model.opening(folder, device=device, dtype=dtype))

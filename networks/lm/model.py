"""Language models behind one interface: tokens in, logits out, whichever framework runs them.

What is written, by what grammar and with which random numbers, is decided above, on the host and in numpy: both
frameworks serve the same sampler. Importing this module loads no framework; `open_language_model` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from networks.machine import default_runtime

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
    """Load the causal language model in `folder`, as transformers' `save_pretrained` writes it.

    None chooses for the machine. `bits` quantises the weights, on MLX; torch runs them as they are. Raises
    CheckpointError for a folder that holds none.
    """
    if (runtime or default_runtime(device).runtime) == "mlx":
        from networks.lm.mlx_model import open_mlx_model

        return open_mlx_model(folder, dtype=dtype, bits=bits)
    from networks.lm.torch_model import open_torch_model

    return open_torch_model(folder, device=device, dtype=dtype)

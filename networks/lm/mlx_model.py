"""Language models on MLX: mlx-lm's networks, driven token by token in the one thread that may use MLX."""

from __future__ import annotations

import gc
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from core.errors import CheckpointError
from networks import mlx_thread
from networks.lm.prompt_cache import Prompts, Remembered
from networks.lm.vocabulary import Vocabulary, open_vocabulary
from networks.machine import GROUP

if TYPE_CHECKING:
    from networks.machine import Bits, DType, RuntimeName

PREFILL = 512
"""Tokens of a prompt that are read at once: attention over all of a long one would take gigabytes."""

"""Weights that share a scale when they are packed."""


def open_mlx_model(folder: Path, *, dtype: DType | None = None, bits: Bits | None = None) -> MlxModel:
    """See lm.open_language_model; None leaves the weights in the format that they are stored in."""
    vocabulary = open_vocabulary(folder)
    return MlxModel(mlx_thread.run(_load, folder, dtype, bits), vocabulary, folder)


def _load(folder: Path, dtype: DType | None, bits: Bits | None) -> Any:
    """The network, its weights in memory. Weights that are packed already stay as they are."""
    import mlx.core as mx
    from mlx.nn.layers.quantized import quantize
    from mlx_lm.utils import load_model

    try:
        network, config = load_model(folder, lazy=True, model_config=_rope(folder))
        if dtype is not None:
            network.set_dtype(getattr(mx, dtype))
        if bits is not None and "quantization" not in config:
            quantize(network, group_size=GROUP, bits=bits)
        mx.eval(network.parameters())
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as broken:
        raise CheckpointError(
            f"The language model in {folder.name} cannot be loaded.", "Download it again."
        ) from broken
    return network


def _rope(folder: Path) -> dict[str, float]:
    """The base of the rotary positions by the name that every model of mlx-lm knows.

    transformers 5 writes it among `rope_parameters`, where mlx-lm's Qwen2 does not look.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    theta = (config.get("rope_parameters") or {}).get("rope_theta")
    return {} if theta is None else {"rope_theta": theta}


class MlxModel:
    """See lm.LanguageModel. Keeps what it has read of the last long prompts."""

    runtime: RuntimeName = "mlx"

    def __init__(self, network: Any, vocabulary: Vocabulary, folder: Path) -> None:
        self.vocabulary = vocabulary
        self.network = network
        self._read: Remembered[MlxSession] = Remembered()
        if network.args.vocab_size < vocabulary.size:
            rows = network.args.vocab_size
            raise CheckpointError(f"{folder.name} has {rows} rows for {vocabulary.size} tokens.", "Download it again.")

    def start(self, prompts: Sequence[Sequence[int]]) -> MlxSession:
        """See lm.LanguageModel.start."""
        return mlx_thread.run(self._read.session, prompts, self._begun)

    def _begun(self, prompts: Prompts) -> MlxSession:
        session = MlxSession(self)
        session.read(prompts)
        return session

    def head(self) -> Any:
        """The layer whose rows are the tokens: the embedding itself where the weights are tied."""
        tied = self.network.args.tie_word_embeddings
        return self.network.model.embed_tokens if tied else self.network.lm_head

    def close(self) -> None:
        """See lm.LanguageModel.close."""
        mlx_thread.run(self._close)

    def _close(self) -> None:
        import mlx.core as mx

        self._read.clear()
        del self.network
        gc.collect()
        mx.clear_cache()


class MlxSession:
    """See lm.Session. Shorter prompts are padded at their left, which mlx-lm's batched cache knows of."""

    def __init__(self, model: MlxModel) -> None:
        self.model = model
        self.rows = 0
        self.caches: list[Any] = []
        self.state: Any = None

    def read(self, prompts: Prompts) -> None:
        """Nothing; the prompts are read, in the MLX thread."""
        import mlx.core as mx
        from mlx_lm.models.cache import BatchKVCache

        longest = max(map(len, prompts))
        pads = [longest - len(prompt) for prompt in prompts]
        self.rows = len(prompts)
        self.caches = [BatchKVCache(pads) for _ in self.model.network.layers]
        padded = mx.array([[0] * pad + list(prompt) for pad, prompt in zip(pads, prompts, strict=True)])
        for start in range(0, longest, PREFILL):
            self._look(padded[:, start : start + PREFILL])

    def _look(self, ids: Any) -> None:
        import mlx.core as mx

        self.state = self.model.network.model(ids, cache=self.caches)[:, -1]
        mx.eval(self.state)

    def feed(self, ids: Sequence[int]) -> None:
        """See lm.Session.feed."""
        if ids:
            mlx_thread.run(self._feed, list(ids))

    def _feed(self, ids: list[int]) -> None:
        import mlx.core as mx

        self._look(mx.array([ids] * self.rows))

    def logits(self, rows: range | None = None) -> NDArray[np.float32]:
        """See lm.Session.logits."""
        return mlx_thread.run(self._logits, range(self.model.vocabulary.size) if rows is None else rows)

    def _logits(self, rows: range) -> NDArray[np.float32]:
        import mlx.core as mx

        head, part = self.model.head(), slice(rows.start, rows.stop)
        if "scales" in head:
            told = mx.quantized_matmul(
                self.state,
                head.weight[part],
                scales=head.scales[part],
                biases=head.biases[part],
                transpose=True,
                group_size=head.group_size,
                bits=head.bits,
            )
        else:
            told = self.state @ head.weight[part].T
        return np.array(told.astype(mx.float32))

    def copy(self) -> MlxSession:
        """Another session that has read the same, in the MLX thread."""
        import mlx.core as mx
        from mlx_lm.models.cache import BatchKVCache

        twin = MlxSession(self.model)
        twin.rows, twin.state = self.rows, self.state
        for cache in self.caches:
            keys, values, offset, pads, filled = cache.state
            twin.caches.append(BatchKVCache([0] * self.rows))
            # An array is copied, for the cache writes into its own.
            twin.caches[-1].state = (mx.array(keys), mx.array(values), mx.array(offset), mx.array(pads), filled)
        return twin

    def close(self) -> None:
        """See lm.Session.close."""
        mlx_thread.run(self._close)

    def _close(self) -> None:
        self.caches.clear()
        self.state = None

"""Language models on MLX: mlx-lm's networks, driven token by token in the one thread that may use MLX."""

from __future__ import annotations

import gc
from collections.abc import Generator, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from networks import mlx_thread
from networks.lm.prompt_cache import PromptCache, PromptIds
from networks.lm.stored import check_family, configuration, head_is_tied, named
from networks.lm.vocabulary import Vocabulary, open_vocabulary, unloadable
from networks.machine import GROUP_SIZE

if TYPE_CHECKING:
    from networks.machine import Bits, DType, RuntimeName

PREFILL_TOKENS = 512
"""Tokens of a prompt that are read at once: attention over all of a long one would take gigabytes."""


def opening(folder: Path, *, dtype: DType | None = None, bits: Bits | None = None) -> Generator[None, None, MlxModel]:
    """Load the language model in `folder` on MLX, parameter by parameter.

    A `dtype` of None leaves the weights in the format they are stored in, `bits` quantises them. Raises
    CheckpointError for a folder that holds none.
    """
    vocabulary = open_vocabulary(folder)
    network = yield from mlx_thread.iterate(partial(_loading, folder, dtype, bits))
    return MlxModel(network, vocabulary)


def _loading(folder: Path, dtype: DType | None, bits: Bits | None) -> Generator[None, None, Any]:
    """The network, its weights in memory. Weights that are quantised already stay as they are."""
    import mlx.core as mx
    from mlx.nn.layers.quantized import quantize
    from mlx.utils import tree_flatten
    from mlx_lm.utils import load_model

    try:
        check_family(folder)
        network, config = load_model(folder, lazy=True, model_config=_completed(folder), get_model_classes=_classes)
        if dtype is not None:
            network.set_dtype(getattr(mx, dtype))
        if bits is not None and "quantization" not in config:
            quantize(network, group_size=GROUP_SIZE, bits=bits)
        parameters: Any = tree_flatten(network.parameters())
        for _, array in parameters:
            mx.eval(array)
            yield
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as broken:
        raise unloadable(folder) from broken
    return network


def _completed(folder: Path) -> dict[str, float | bool]:
    """What a configuration may leave out or tell elsewhere, by the names that every model of mlx-lm knows.

    transformers 5 writes the base of the rotary positions among `rope_parameters`, where mlx-lm's Qwen2 does not read
    it.
    """
    theta = (configuration(folder).get("rope_parameters") or {}).get("rope_theta")
    return {"tie_word_embeddings": head_is_tied(folder)} | ({} if theta is None else {"rope_theta": theta})


def _classes(config: dict[str, Any]) -> tuple[type, type]:
    """mlx-lm's classes for a configuration, the network made to take weights under either spelling of their names."""
    family = import_module(f"mlx_lm.models.{config['model_type']}")

    class AnySpelling(family.Model):  # type: ignore[name-defined]
        def sanitize(self, weights: dict[str, Any]) -> Any:
            return super().sanitize(named(weights))

    return AnySpelling, family.ModelArgs


class MlxModel:
    """A LanguageModel on MLX; caches what it has read of the last long prompts."""

    runtime: RuntimeName = "mlx"

    def __init__(self, network: Any, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.network = network
        self._prompts: PromptCache[MlxSession] = PromptCache()
        vocabulary.check_rows(network.args.vocab_size)

    def start(self, prompts: Sequence[Sequence[int]]) -> MlxSession:
        """Read the prompts, or copy the session of the same ones that is cached."""
        return mlx_thread.run(self._prompts.session, prompts, self._prefilled)

    def _prefilled(self, prompts: PromptIds) -> MlxSession:
        session = MlxSession(self)
        session.prefill(prompts)
        return session

    def head(self) -> Any:
        """The layer whose rows are the tokens: the embedding itself where the weights are tied."""
        tied = self.network.args.tie_word_embeddings
        return self.network.model.embed_tokens if tied else self.network.lm_head

    def close(self) -> None:
        """Free the weights and the cached sessions."""
        mlx_thread.run(self._close)

    def _close(self) -> None:
        import mlx.core as mx

        self._prompts.clear()
        del self.network
        gc.collect()
        mx.clear_cache()


class MlxSession:
    """A Session on MLX. Shorter prompts are padded at their left, which mlx-lm's batched cache knows of."""

    def __init__(self, model: MlxModel) -> None:
        self.model = model
        self.rows = 0
        self.kv_caches: list[Any] = []
        self.states: Any = None

    def prefill(self, prompts: PromptIds) -> None:
        """Read the prompts; called in the MLX thread."""
        import mlx.core as mx
        from mlx_lm.models.cache import BatchKVCache

        longest = max(map(len, prompts))
        pads = [longest - len(prompt) for prompt in prompts]
        self.rows = len(prompts)
        self.kv_caches = [BatchKVCache(pads) for _ in self.model.network.layers]
        padded = mx.array([[0] * pad + list(prompt) for pad, prompt in zip(pads, prompts, strict=True)])
        for start in range(0, longest, PREFILL_TOKENS):
            self._forward(padded[:, start : start + PREFILL_TOKENS])

    def _forward(self, ids: Any) -> None:
        import mlx.core as mx

        self.states = self.model.network.model(ids, cache=self.kv_caches)[:, -1]
        mx.eval(self.states)

    def feed(self, ids: Sequence[int]) -> None:
        """Read these tokens in every row."""
        if ids:
            mlx_thread.run(self._feed, list(ids))

    def _feed(self, ids: list[int]) -> None:
        import mlx.core as mx

        self._forward(mx.array([ids] * self.rows))

    def logits(self, rows: range | None = None) -> NDArray[np.float32]:
        """Logits `(B, V)`, or `(B, len(rows))` from the head's rows of these token ids alone."""
        return mlx_thread.run(self._logits, range(self.model.vocabulary.size) if rows is None else rows)

    def _logits(self, ids: range) -> NDArray[np.float32]:
        import mlx.core as mx

        head, part = self.model.head(), slice(ids.start, ids.stop)
        if "scales" in head:
            logits = mx.quantized_matmul(
                self.states,
                head.weight[part],
                scales=head.scales[part],
                biases=head.biases[part],
                transpose=True,
                group_size=head.group_size,
                bits=head.bits,
            )
        else:
            logits = self.states @ head.weight[part].T
        return np.array(logits.astype(mx.float32))

    def copy(self) -> MlxSession:
        """Another session that has read the same; called in the MLX thread."""
        import mlx.core as mx
        from mlx_lm.models.cache import BatchKVCache

        other = MlxSession(self.model)
        other.rows, other.states = self.rows, self.states
        for cache in self.kv_caches:
            keys, values, offset, pads, filled = cache.state
            other.kv_caches.append(BatchKVCache([0] * self.rows))
            # An array is copied, for the cache writes into its own.
            other.kv_caches[-1].state = (mx.array(keys), mx.array(values), mx.array(offset), mx.array(pads), filled)
        return other

    def close(self) -> None:
        """Free the key-value caches."""
        mlx_thread.run(self._close)

    def _close(self) -> None:
        self.kv_caches.clear()
        self.states = None

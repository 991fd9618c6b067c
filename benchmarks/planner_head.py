"""What it saves to compute only the rows of the head that can be sampled: `python benchmarks/planner_head.py`.

Random weights of the 0.6B planner's shape (28 layers with --layers 28; a few by default, for they cost the same before
and after). In its second phase the planner can choose among 64,000 audio codes of 217,204 rows. Both ways are measured
in turns in one run, and must give the same numbers.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
import torch
from tokenizers import Tokenizer, models
from transformers import Qwen3Config, Qwen3ForCausalLM

from networks.lm.sampling import Sampler, Sampling
from networks.lm.torch_model import TorchModel
from networks.lm.vocabulary import Vocabulary

ROWS, CODES = 217_204, range(151_669, 151_669 + 64_000)


def say(line: str) -> None:
    """Print the line to stdout at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def model_of(layers: int) -> TorchModel:
    """A planner of random weights, in float32 on the CPU."""
    config = Qwen3Config(
        vocab_size=ROWS,
        hidden_size=1024,
        intermediate_size=3072,
        num_hidden_layers=layers,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        tie_word_embeddings=True,
    )
    vocabulary = Vocabulary(Tokenizer(models.BPE()), {}, (None,) * ROWS, Path("random"))
    return TorchModel(Qwen3ForCausalLM(config).eval(), vocabulary, torch.device("cpu"))


def seconds(work: Callable[[], object]) -> float:
    """How long the work took."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> int:
    """0 when both ways give the same numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--steps", type=int, default=15)
    asked = parser.parse_args()
    torch.manual_seed(0)
    session = model_of(asked.layers).start([list(range(40)), list(range(30))])
    session.logits(), session.logits(CODES)
    same = np.array_equal(session.logits()[:, CODES.start : CODES.stop], session.logits(CODES))
    sampler, places = Sampler(Sampling(temperature=0.85, top_p=0.9, guidance=2.0), 0), np.arange(len(CODES))
    whole, rows, bodies, picks = [], [], [], []
    for step in range(asked.steps):
        bodies.append(seconds(lambda step=step: session.feed([CODES[step]])))  # type: ignore[misc]
        whole.append(seconds(session.logits))
        rows.append(seconds(lambda: session.logits(CODES)))
        told = session.logits(CODES)
        picks.append(seconds(lambda told=told: sampler.pick(told, allowed=places)))  # type: ignore[misc]
    before, after, body, pick = (1000 * median(each) for each in (whole, rows, bodies, picks))
    say(f"the same numbers: {same}")
    say(f"head: {before:.1f} ms with all {ROWS} rows, {after:.1f} ms with {len(CODES)}: {1 - after / before:.0%} saved")
    say(f"beside it: {body:.1f} ms for {asked.layers} layers, {pick:.1f} ms to choose")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())

"""How much the cached cross-attention keys and values save: `python benchmarks/cross_cache.py`.

A DiT of XL's proportions at a quarter of its width, random weights, one minute of music. One step with the keys and
values that the condition holds is timed against one that computes them anew, in turn, so that both see the same
machine; printed is the ratio of the fastest of each.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from diffusers.models.transformers.ace_step_transformer import AceStepTransformer1DModel

from networks.acestep.torch.dit import cache_cross_attention, install_attention, position_tables, velocity

FRAMES = 1500


def seconds(work: Callable[[], object], device: str) -> float:
    """How long one call takes: of the processor's time on a CPU, which other programs on the machine do not change."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    started = clock()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - started


def ratio(tokens: int, rounds: int, device: str) -> tuple[float, float]:
    """Fastest step with cached and with recomputed keys and values, for a condition of so many tokens."""
    torch.manual_seed(0)
    dit = AceStepTransformer1DModel(
        hidden_size=640, intermediate_size=2432, num_hidden_layers=8, num_attention_heads=8, num_key_value_heads=2,
        encoder_hidden_size=512,
    ).eval().to(device)  # fmt: skip
    install_attention(dit)
    tables = position_tables(dit, FRAMES // 2)
    x, context = torch.randn(1, FRAMES, 64, device=device), torch.randn(1, FRAMES, 128, device=device)
    states = [torch.randn(1, tokens, 512, device=device)]
    cached = cache_cross_attention(dit, states)
    steps: list[Callable[[], object]] = [
        lambda: velocity(dit, tables, x, 0.5, context, [cached]),
        lambda: velocity(dit, tables, x, 0.5, context, [cache_cross_attention(dit, states)]),
    ]
    with torch.no_grad():
        times = [[seconds(step, device) for step in steps] for _ in range(rounds + 1)][1:]
    cached_s, recomputed_s = (min(column) for column in zip(*times, strict=True))
    return cached_s, recomputed_s


def main() -> None:
    """Prints one line for a short and one for a long condition."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=8)
    given = parser.parse_args()
    for words, tokens in (("a caption and a verse", 200), ("a full lyric sheet", 2305)):
        remembered, recomputed = ratio(tokens, given.rounds, given.device)
        sys.stdout.write(
            f"{words} ({tokens} tokens): {remembered:.3f} s per step remembered, {recomputed:.3f} s recomputed: "
            f"{recomputed / remembered:.2f} x\n"
        )


if __name__ == "__main__":
    main()

"""What a token of the 5 Hz planner costs, step by step and as a captured graph: `python benchmarks/planner_steps.py`.

Random weights of the published shapes. A step reads one token in both rows of a guided batch, multiplies by the rows of
the head that are audio codes, and chooses. On CUDA the step is measured in both forms, which must agree; elsewhere a
graph cannot be captured.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent.parent))

import torch
from torch import Tensor
from torch.nn.functional import linear
from transformers import Qwen3Config, Qwen3ForCausalLM

from networks.acestep.published import PLANNER_CONFIGS
from networks.lm.sampling import Sampler, Sampling
from networks.lm.torch_kv_cache import KvCache

CODES = range(151_669, 151_669 + 64_000)
PROMPT = 400
"""Tokens before the first code: the instruction, a caption, lyrics and a thought."""
WARM = 5
"""Steps that are not counted."""


def say(line: str) -> None:
    """Put the line on stdout at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def model_of(name: str, device: str, layers: int | None) -> Qwen3ForCausalLM:
    """A planner of random weights in bfloat16; `layers` None takes all."""
    config = dict(PLANNER_CONFIGS[name])
    if layers:
        config["num_hidden_layers"] = layers
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            model = Qwen3ForCausalLM(Qwen3Config.from_dict({**config, "attn_implementation": "sdpa"}))
    finally:
        torch.set_default_dtype(torch.float32)
    return model.eval().requires_grad_(False)


def now(device: str) -> float:
    """The moment, once the device has done all it was told."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def timed(model: Qwen3ForCausalLM, device: str, steps: int, *, static: bool) -> tuple[dict[str, float], Tensor]:
    """Milliseconds of the parts of a step, codes per second over all of them, and the last states."""
    dice = torch.Generator().manual_seed(0)
    prompts = torch.randint(1000, (2, PROMPT), generator=dice).to(device)
    tokens = torch.randint(CODES.start, CODES.stop, (WARM + steps,), generator=dice).tolist()
    memory = KvCache(model.base_model, torch.tensor([30, 0], device=device), PROMPT, static=static)
    head = model.get_output_embeddings().weight[CODES.start : CODES.stop]
    sampler = Sampler(Sampling(temperature=0.85, top_p=0.9, guidance=2.0), 0)
    begun = now(device)
    state = memory.read(prompts)
    reading = now(device) - begun
    bodies, heads, picks, begun = [], [], [], 0.0
    for step, token in enumerate(tokens):
        if step == WARM:
            begun = now(device)
        start = now(device)
        state = memory.read(torch.tensor([[token]] * 2, device=device))
        read = now(device)
        logits = linear(state, head).float().cpu().numpy()
        told = now(device)
        sampler.pick(logits, first=CODES.start)
        bodies.append(read - start)
        heads.append(told - read)
        picks.append(now(device) - told)
    whole = now(device) - begun
    parts = {
        "prompt": reading,
        "body": median(bodies[WARM:]),
        "head": median(heads[WARM:]),
        "pick": median(picks[WARM:]),
    }
    return {name: 1000 * value for name, value in parts.items()} | {"per_s": steps / whole}, state


def main() -> int:
    """0 when both forms agree."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("names", nargs="*", default=["lm-0.6b", "lm-1.7b"])
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options.add_argument("--layers", type=int, help="fewer of them; left out: all")
    options.add_argument("--steps", type=int, default=200)
    asked = options.parse_args()
    held = True
    for name in asked.names:
        model = model_of(name, asked.device, asked.layers)
        states = {}
        for form, static in (("eager", False), ("captured", True)):
            with torch.inference_mode():
                costs, states[form] = timed(model, asked.device, asked.steps, static=static)
            say(json.dumps({"name": name, "form": form, **{part: round(cost, 3) for part, cost in costs.items()}}))
        apart = (states["eager"] - states["captured"]).float().norm() / states["eager"].float().norm()
        held &= bool(apart < 0.05)
        say(json.dumps({"name": name, "apart": round(apart.item(), 5)}))
        del model, states
        gc.collect()
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())

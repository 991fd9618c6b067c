"""Flow edit: a recording carried from one description to another without a way through noise.

After FlowEdit (Kulikov et al., arXiv:2412.08629) and upstream's `flowedit_sampling_loop`: the difference between the
velocities towards the target and the source moves the recording itself, so that what both descriptions share stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from networks.acestep.sampler import Carry, Field, Guidance, Step, Velocity, View, renoise


@dataclass(frozen=True, kw_only=True)
class Morph:
    """What a flow edit needs besides the recording.

    Of N steps the first `int(n_min * N)` are left out, which keeps more of the source; up to `int(n_max * N)` both
    descriptions are weighed against each other, in `n_avg` draws of noise per step; after that the target alone
    leads. `n_min` and `n_max` are shares of the steps.
    """

    levels: Sequence[float]
    source: View
    target: View
    guidance: Guidance
    n_min: float = 0.0
    n_max: float = 1.0
    n_avg: int = 1


def flow_edit(velocity: Velocity, clean: Tensor, morph: Morph, fresh: Callable[[int], Tensor]) -> Iterator[Step]:
    """A step after each level that is worked on; the last one's `x` is the result.

    `clean` is the recording `(B, T, C)`; `fresh(index)` gives the noise of draw `index`, counted from 0 over the run.
    Each branch carries its own guidance memory, advanced once per step by the mean over its draws.
    """
    total = len(morph.levels) - 1
    first, last = int(total * morph.n_min), int(total * morph.n_max)
    from_source, to_target = (Field(velocity, view, morph.guidance) for view in (morph.source, morph.target))
    memory: tuple[Carry, Carry] = (None, None)
    edited, x, draws = clean, None, 0
    for index, (t, t_next) in enumerate(pairwise(morph.levels)):
        if index < first:
            continue
        if index < last:
            turns = []
            for _ in range(morph.n_avg):
                noisy = renoise(clean, fresh(draws).to(clean), t)
                draws += 1
                v_source, source_memory = from_source(noisy, t, memory[0])
                v_target, target_memory = to_target(edited + noisy - clean, t, memory[1])
                turns.append((v_target - v_source, source_memory, target_memory))
            differences, source_memories, target_memories = zip(*turns, strict=True)
            memory = (_mean(source_memories), _mean(target_memories))
            edited = edited + (t_next - t) * torch.stack(differences).mean(dim=0)
            result = edited
        else:
            if x is None:
                x = edited + renoise(clean, fresh(draws).to(clean), t) - clean
            v, target_memory = to_target(x, t, memory[1])
            memory = (memory[0], target_memory)
            x = result = x + (t_next - t) * v
        yield Step(index + 1 - first, total - first, t_next, result)


def _mean(carries: Sequence[Carry]) -> Carry:
    """The mean memory of draws that started from the same one; None where the guidance keeps none."""
    kept = [carry for carry in carries if carry is not None]
    return torch.stack(kept).mean(dim=0) if kept else None

"""Flow edit: a recording moved from one description to another without a way through noise.

After FlowEdit (Kulikov et al., arXiv:2412.08629) and upstream's `flowedit_sampling_loop`: the difference between the
velocities towards the target and the source moves the recording itself, so that what both descriptions share stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from networks.acestep.sampler import Guidance, Momentum, Step, Velocity, VelocityField, View, renoise


@dataclass(frozen=True, kw_only=True)
class FlowEditInputs:
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


def flow_edit(
    velocity: Velocity, clean: Tensor, inputs: FlowEditInputs, fresh_noise: Callable[[int], Tensor]
) -> Iterator[Step]:
    """Yield a step after each level that is worked on; the last one's `x` is the result.

    `clean` is the recording `(B, T, C)`; `fresh_noise(index)` gives the noise of draw `index`, counted from 0 over
    the run. Each branch has a guidance momentum of its own, advanced once per step to the mean over its draws.
    """
    total = len(inputs.levels) - 1
    first, last = int(total * inputs.n_min), int(total * inputs.n_max)
    source, target = (VelocityField(velocity, view, inputs.guidance) for view in (inputs.source, inputs.target))
    source_momentum: Momentum = None
    target_momentum: Momentum = None
    edited, x, draws = clean, None, 0
    for index, (t, t_next) in enumerate(pairwise(inputs.levels)):
        if index < first:
            continue
        if index < last:
            drawn = []
            for _ in range(inputs.n_avg):
                noisy = renoise(clean, fresh_noise(draws).to(clean), t)
                draws += 1
                v_source, next_source = source(noisy, t, source_momentum)
                v_target, next_target = target(edited + noisy - clean, t, target_momentum)
                drawn.append((v_target - v_source, next_source, next_target))
            differences, source_momenta, target_momenta = zip(*drawn, strict=True)
            source_momentum, target_momentum = _mean(source_momenta), _mean(target_momenta)
            edited = edited + (t_next - t) * torch.stack(differences).mean(dim=0)
            foreseen = result = edited
        else:
            if x is None:
                x = edited + renoise(clean, fresh_noise(draws).to(clean), t) - clean
            v, target_momentum = target(x, t, target_momentum)
            foreseen = x - t * v
            x = result = x + (t_next - t) * v
        yield Step(index + 1 - first, total - first, t_next, result, foreseen)


def _mean(momenta: Sequence[Momentum]) -> Momentum:
    """The mean momentum of draws that started from the same one; None where the guidance has none."""
    present = [momentum for momentum in momenta if momentum is not None]
    return torch.stack(present).mean(dim=0) if present else None

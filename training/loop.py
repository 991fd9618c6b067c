"""One training loop for every stage: minutes instead of steps, two processes that average, checkpoints to resume."""

from __future__ import annotations

import logging
import math
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

LOG = logging.getLogger("training")
PROCESSES = 2
_AVERAGE_EVERY = 4
_SAVE_MINUTES = 2.0
# Two workers on two cores must neither spin while they wait for each other nor hand memory back at every step.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0", "OMP_WAIT_POLICY": "passive",
    "MALLOC_MMAP_THRESHOLD_": "1073741824", "MALLOC_TRIM_THRESHOLD_": "4294967296",
}  # fmt: skip


@dataclass(frozen=True)
class TrainingSettings:
    """The length and the optimizer of one stage's training, and the file that it saves to and resumes from."""

    minutes: float
    learning_rate: float
    checkpoint: Path
    beta1: float = 0.9
    weight_decay: float = 0.0
    warmup_steps: int = 60
    floor: float = 0.03

    def rate(self, step: int, progress: float) -> float:
        """The learning rate: linear warm-up by steps, then half a cosine over the minutes."""
        cosine = 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
        return self.learning_rate * min(1.0, (step + 1) / self.warmup_steps) * (self.floor + (1 - self.floor) * cosine)


def in_parallel(work: Callable[..., None], *arguments: object) -> None:
    """Run `work(rank, *arguments)` in PROCESSES fresh processes that can average; raises when one fails."""
    os.environ.update(_ENVIRONMENT)
    with tempfile.TemporaryDirectory() as folder:
        spawn(_join, (work, f"file://{folder}/rendezvous", arguments), nprocs=PROCESSES)


def _join(rank: int, work: Callable[..., None], rendezvous: str, arguments: Sequence[object]) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=PROCESSES)
    try:
        work(rank, *arguments)
    finally:
        dist.destroy_process_group()


def load_average(checkpoint: Path, model: nn.Module) -> None:
    """Fill `model` with the averaged weights that `train` saved."""
    model.load_state_dict(torch.load(checkpoint, weights_only=True)["average"])
    model.eval()


def train(
    model: nn.Module,
    loss_of: Callable[[], Tensor],
    settings: TrainingSettings,
    rank: int = 0,
    report: Callable[[], str] | None = None,
) -> None:
    """Minimise `loss_of()` over the parameters of `model` that require gradients, for the minutes of `settings`.

    What is saved, and left in `model` at the end, is the moving average of the weights. `report` runs on rank 0 with
    those averaged weights in place, once per checkpoint.
    """
    state = _State(model, settings)
    losses: list[float] = []
    saved_at = state.minutes
    while state.minutes < settings.minutes:
        for group in state.optimizer.param_groups:
            group["lr"] = settings.rate(state.step, state.minutes / settings.minutes)
        state.optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        nn.utils.clip_grad_norm_(state.parameters, 1.0)
        state.optimizer.step()
        losses.append(loss.item())
        state.step += 1
        if state.step % _AVERAGE_EVERY == 0:
            state.average_processes()
            if rank == 0 and state.minutes - saved_at >= _SAVE_MINUTES:
                saved_at = state.minutes
                LOG.info("%.1f min, step %d, loss %.4f%s", state.minutes, state.step, _mean(losses), state.save(report))
    closing = state.save(report if rank == 0 else None, write=rank == 0)
    LOG.info("rank %d done: %.1f min, step %d, loss %.4f%s", rank, state.minutes, state.step, _mean(losses), closing)
    state.swap()


def _mean(losses: Sequence[float]) -> float:
    recent = losses[-200:]
    return sum(recent) / max(1, len(recent))


class _State:
    """Parameters, optimizer, moving average and the clock of one run; resumed from its checkpoint."""

    def __init__(self, model: nn.Module, settings: TrainingSettings) -> None:
        self.model, self.path, self.step = model, settings.checkpoint, 0
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.parameters,
            lr=settings.learning_rate,
            betas=(settings.beta1, 0.98),
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.average = [p.detach().clone() for p in self.parameters]
        self.minutes, began = 0.0, 0.0
        if self.path.exists():
            began = self._resume()
        self._zero = time.monotonic() - 60.0 * began
        self.minutes = began

    def _resume(self) -> float:
        saved = torch.load(self.path, weights_only=True)
        self.model.load_state_dict(saved["average"])
        self.average = [p.detach().clone() for p in self.parameters]
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.step = saved["step"]
        LOG.info("resuming at %.1f minutes", saved["minutes"])
        return saved["minutes"]

    @torch.no_grad()
    def average_processes(self) -> None:
        """Average the parameters and the clocks of all processes, then follow them with the moving average."""
        if dist.is_initialized():
            clock = torch.tensor([(time.monotonic() - self._zero) / 60.0])
            flat = torch.cat([*(p.flatten() for p in self.parameters), clock])
            dist.all_reduce(flat)
            flat /= dist.get_world_size()
            pieces = flat[:-1].split([p.numel() for p in self.parameters])
            for parameter, piece in zip(self.parameters, pieces, strict=True):
                parameter.copy_(piece.view_as(parameter))
            self.minutes = flat[-1].item()
        else:
            self.minutes = (time.monotonic() - self._zero) / 60.0
        updates = self.step / _AVERAGE_EVERY
        decay = min(0.995, (1.0 + updates) / (10.0 + updates))
        for mean, parameter in zip(self.average, self.parameters, strict=True):
            mean.lerp_(parameter, 1.0 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the weights in the model with their moving average."""
        for mean, parameter in zip(self.average, self.parameters, strict=True):
            trained = parameter.clone()
            parameter.copy_(mean)
            mean.copy_(trained)

    def save(self, report: Callable[[], str] | None, write: bool = True) -> str:
        """Write the checkpoint and return the summary that `report` gives of the averaged weights."""
        saved = {"model": {name: value.clone() for name, value in self.model.state_dict().items()}}
        self.swap()
        summary = f", {report()}" if report else ""
        if write:
            saved["average"] = self.model.state_dict()
            rest = {"optimizer": self.optimizer.state_dict(), "step": self.step, "minutes": self.minutes}
            temporary = self.path.with_suffix(".part")
            torch.save(saved | rest, temporary)
            temporary.replace(self.path)
        self.swap()
        return summary

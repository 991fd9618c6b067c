"""Replicas in processes of their own, on this machine or a cluster of others: what Ray Serve does for the studio.

Serve starts them, watches them, hands work to one that is free and changes their number. Here is what is left: what a
replica does with a piece of work, and what its loss means. The one file that imports ray, and only once it is asked to.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import logging
import os
import platform
import re
import signal
import threading
from collections.abc import AsyncGenerator, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from core.errors import Cancelled, Fault, MissingWeights, RequestError, StudioError
from core.paths import ROOT
from core.steps import leave_when
from jobs.lease import Here, Step
from jobs.models import Models
from jobs.replica import Replica
from jobs.work import Work
from networks.machine import ON_ZERO_GPU, Machine

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle, DeploymentResponseGenerator

log = logging.getLogger(__name__)

EXTRA = "Install it with .venv/bin/python -m pip install '.[scale]'; docs/scale.md tells the rest."

POLL_S = 0.1
"""How often it is looked whether a job was cancelled that a replica works on."""

LONGEST_S = 3600.0
"""What a replica may still take for the work it is at when there shall be fewer of them."""

REST_S = 300.0
"""After so long without jobs for all of them there are fewer: weights that are loaded are worth keeping for a while."""

CARRIED = ("ACE_", "HF_HUB_", "OMP_", "PYTORCH_")
"""How the variables begin that decide how a studio runs, wherever its replicas do."""

Event = TypeVar("Event")
Product = TypeVar("Product")


@dataclass(frozen=True, kw_only=True)
class Replicas:
    """How many of them there are, at least and at the most, and the cluster that they run on.

    Without a `cluster` it is this machine; without `most` as many as the cluster has GPUs.
    """

    least: int = 1
    most: int | None = None
    cluster: str | None = None


def replicas_of(number: str | None, cluster: str | None) -> Replicas | None:
    """What the command line asks for: `4`, `2-8`, or none. Raises RequestError for anything else."""
    if number is None:
        return None if cluster is None else Replicas(cluster=cluster)
    found = re.fullmatch(r"(?:(\d{1,4})-)?(\d{1,4})", number, re.ASCII)
    least, most = (int(found[1] or 1), int(found[2])) if found else (0, 0)
    if not 1 <= least <= most:
        raise RequestError([Fault("replicas", number, "must be a number from 1 on, or two of them: 2-8")])
    return Replicas(least=least, most=most, cluster=cluster)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a replica tells of its machine: all that the front must know to name what it would make there."""

    machine: Machine
    units: bool


class Server:
    """What Serve starts in each process: the models of one device, and a hand that works on one thing at a time."""

    def __init__(self, machine: Machine) -> None:
        self._models = Models(machine)
        self._here = Here(self._models)
        self._hand = ThreadPoolExecutor(1, "work")

    def facts(self) -> Facts:
        """How songs are rendered here."""
        own = self._models.machine
        machine = dataclasses.replace(own, runtime=own.chosen.runtime, device=self._models.device_kind())
        return Facts(machine=machine, units=self._models.units())

    async def steps(self, work: Work[Product], stretch: float) -> AsyncGenerator[Step[Product], None]:
        """What the leased function tells.

        A cancel arrives where this waits for the hand: the step that is at work ends or is left, and nothing comes
        after it.
        """
        loop, steps, stop = asyncio.get_running_loop(), None, threading.Event()
        for need in work.needs:
            if not need.place.folder.is_dir():
                where = f"{need.place.folder} on {platform.node()}"
                yield MissingWeights(
                    f"{need.place.checkpoint.title} is not there: {where}.",
                    "Every machine of the cluster must find the weights under the same path.",
                )
                return
        steps = iter(self._here.steps(work, stretch, stop))
        try:
            while (step := await loop.run_in_executor(self._hand, _next, steps, stop)) is not None:
                yield step
        finally:
            stop.set()
            await asyncio.shield(loop.run_in_executor(self._hand, _close, steps))


def _next(steps: Iterator[Event], stop: threading.Event) -> Event | None:
    """The next step, which is left inside when `stop` is set; None after the last."""
    leave_when(stop.is_set)
    return next(steps, None)


def _close(steps: object) -> None:
    """Close a generator; it must be the thread that ran it where a framework minds."""
    if isinstance(steps, Generator):
        steps.close()


class OnReplica:
    """By whichever replica Serve hands the work to."""

    waiting = "waiting for a replica"
    there = "a replica is there"
    again = "the replica that was making this was lost; it was made once more by another"
    lost = "The replica that made this was lost, and so was another one."

    def __init__(self, handle: DeploymentHandle[Server], app: str, *, own: bool) -> None:
        self._handle, self._app, self._own = handle, app, own

    def steps(self, work: Work[Product], stretch: float, stop: threading.Event) -> Generator[Step[Product], None, None]:
        """What the leased function tells there. Raises Cancelled when `stop` is set, be there a replica or none yet."""
        from ray.exceptions import TaskCancelledError

        response = self._handle.options(stream=True).steps.remote(work, stretch)
        over = threading.Event()
        threading.Thread(target=_cancel_at, args=(response, stop, over), name="cancel", daemon=True).start()
        try:
            yield from response
        except TaskCancelledError as error:
            if not stop.is_set():
                raise
            raise Cancelled("The job was cancelled.") from error
        finally:
            over.set()
            response.cancel()

    def verdict(self, error: Exception, remedy: str, *, begun: bool) -> Exception | None:
        """None for a process, an actor or a machine that died; the error itself for anything else."""
        from ray import exceptions as ray

        died = (ray.RayActorError, ray.WorkerCrashedError, ray.NodeDiedError, ray.ObjectLostError)
        return None if isinstance(error, died) else error

    def close(self) -> None:
        """End the replicas, and the cluster if it was made for them."""
        import ray
        from ray import serve

        if self._own:
            ray.shutdown()
        else:
            serve.delete(self._app)


def _cancel_at(response: DeploymentResponseGenerator[Any], stop: threading.Event, over: threading.Event) -> None:
    """Cancel the work when `stop` is set: whoever reads its steps waits in them and does not look."""
    while not over.is_set():
        if stop.wait(POLL_S):
            response.cancel()
            return


def opened(replicas: Replicas, machine: Machine, outputs: str, longest: int) -> Replica:
    """A line before replicas that are started by this, or found again by who keeps the same `outputs`.

    `longest` is the line before one device.

    Raises StudioError when Ray is not installed, the cluster does not answer, or it has no room for the least of them.
    """
    if ON_ZERO_GPU:
        raise StudioError("On ZeroGPU there is one device, which is leased.", "Leave --replicas and --cluster out.")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when ray is imported: it would tell its makers
    try:
        import ray
        from ray import serve
        from ray.serve.config import AutoscalingConfig
        from ray.serve.schema import LoggingConfig
    except ImportError as missing:
        raise StudioError(
            "More than one machine or device needs Ray Serve, which is not installed.", EXTRA
        ) from missing
    _join(replicas.cluster)
    gpus, cpus = (float(ray.cluster_resources().get(name, 0)) for name in ("GPU", "CPU"))
    on_gpus = machine.device == "cuda" or (machine.device is None and gpus > 0)
    most = replicas.most or max(replicas.least, int(gpus), 1)
    if on_gpus and replicas.cluster is None and gpus < most:
        ray.shutdown()
        raise StudioError(f"{most} replicas need a GPU each, and there are {gpus:.0f} here.", "Ask for fewer.")
    share = 1.0 if on_gpus else cpus / most
    app = f"studio-{hashlib.sha256(f'{platform.node()} {outputs}'.encode()).hexdigest()[:8]}"
    log.info("starting %d of at most %d replicas", replicas.least, most)
    deployment = serve.deployment(
        Server,
        name="replica",
        max_ongoing_requests=1,
        autoscaling_config=AutoscalingConfig(
            min_replicas=replicas.least,
            max_replicas=most,
            target_ongoing_requests=1,
            upscale_delay_s=1,
            downscale_delay_s=REST_S,
            metrics_interval_s=1,
            look_back_period_s=2,
        ),
        graceful_shutdown_timeout_s=LONGEST_S,
        graceful_shutdown_wait_loop_s=0.5,
        ray_actor_options={"num_cpus": share if share < 1 else int(share), "num_gpus": int(on_gpus)},
        logging_config=LoggingConfig(log_level="WARNING", enable_access_log=False),
    )
    try:
        serve.start(proxy_location="Disabled")  # who asks comes by the page
        handle = serve.run(deployment.bind(machine), name=app, route_prefix=None)
        facts: Facts = handle.facts.remote().result()
    except RuntimeError as error:
        raise StudioError(f"The replicas could not be started: {error}", "Ray's logs in /tmp/ray say more.") from error
    way = OnReplica(handle, app, own=replicas.cluster is None)
    return Replica(Models(facts.machine, units=facts.units), way, most, longest)


def _join(cluster: str | None) -> None:
    """Become part of the cluster at that address, or start one on this machine. Raises StudioError."""
    import ray

    if (cluster or "").startswith("ray://"):
        hint = "Run the studio on a machine of the cluster: ray start --address HOST:6379, then --cluster HOST:6379."
        raise StudioError("Ray's client does not carry progress and previews.", hint)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    stopped_by = signal.getsignal(signal.SIGTERM)
    carried = {name: value for name, value in os.environ.items() if name.startswith(CARRIED)}
    try:
        ray.init(
            address=cluster or "local",
            include_dashboard=None if cluster else False,
            logging_level=logging.WARNING,
            runtime_env={"env_vars": {**carried, "PYTHONPATH": str(ROOT)}},
        )
    except Exception as error:  # a node that did not start in time is no more than that to ray
        where = f"The cluster at {cluster}" if cluster else "Ray"
        raise StudioError(f"{where} does not answer: {error}", "Its logs in /tmp/ray say more.") from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, stopped_by)  # ray puts its own in its place

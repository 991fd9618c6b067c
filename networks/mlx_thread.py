"""The one thread in which MLX runs: models are loaded, compiled, used and freed in it and nowhere else.

MLX's streams belong to the thread that made them: a lazy array, or a weight that was not read yet, fails in another
("There is no Stream in current thread"), and a process in which worker threads used MLX may abort when it ends. So a
daemon thread does all of it, one job after the other, and clears its streams as its last. Import `mlx_lm` in a
job too, for it makes a stream when it is imported. Only numpy and plain values may come back.
"""

from __future__ import annotations

import atexit
import os
import queue
import sys
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, ParamSpec, TypeVar

from core.errors import Cancelled

EXIT_S = 20.0
"""How long the end of the process waits for the job that still runs: one step of a large model takes seconds."""

P = ParamSpec("P")
R = TypeVar("R")
Item = TypeVar("Item")


class _End:
    """The end of a generator, with what it returns, as a value that can cross threads."""

    def __init__(self, value: Any) -> None:
        self.value = value


class _Worker(threading.Thread):
    """A thread that runs jobs in the order of their arrival until it gets None."""

    def __init__(self) -> None:
        super().__init__(name="mlx", daemon=True)
        self.jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self.ended = False

    def run(self) -> None:
        if sys.platform != "darwin":
            # Without Metal, MLX compiles by calling a C++ compiler, which a machine may lack.
            os.environ.setdefault("MLX_DISABLE_COMPILE", "1")
        while (job := self.jobs.get()) is not None:
            job()
            del job  # or the last job's model would live until the next job
        if "mlx.core" in sys.modules:
            import mlx.core as mx

            mx.clear_streams()

    def end(self) -> None:
        """Stop the thread after the jobs that it has; it takes no others."""
        self.ended = True
        self.jobs.put(None)
        self.join(EXIT_S)


_start_lock = threading.Lock()
_worker: _Worker | None = None


def _thread() -> _Worker:
    """The thread, started by the first job."""
    global _worker
    with _start_lock:
        if _worker is None:
            _worker = _Worker()
            _worker.start()
            atexit.register(_worker.end)
        return _worker


def run(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call the function in the MLX thread and return its result, or raise its exception.

    In that thread itself it is called at once. Raises Cancelled when the process is ending.
    """
    worker = _thread()
    if threading.current_thread() is worker:
        return function(*args, **kwargs)
    if worker.ended:
        raise Cancelled("The studio is closing.")
    future: Future[R] = Future()
    worker.jobs.put(partial(_answer, future, partial(function, *args, **kwargs)))
    try:
        return future.result()
    finally:
        del future  # which holds an error whose traceback would hold this frame


def _answer(future: Future[R], call: Callable[[], R]) -> None:
    try:
        future.set_result(call())
    except BaseException as error:  # also what would end the thread belongs to the caller
        future.set_exception(error)
    finally:
        del future, call  # as in `run`


def iterate(
    make_generator: Callable[[], Generator[Item, Any, R]],
    within: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Generator[Item, None, R]:
    """Yield the items of a generator that is made, advanced and closed in the MLX thread; returns what it returns.

    It advances when its consumer asks for an item, so that several generators alternate, each step `within` a context
    of its own. When the consumer stops or is abandoned, the generator is closed where it waits.
    """
    generator = run(make_generator)
    try:
        while not isinstance(item := run(_advanced, generator, within), _End):
            yield item
        result: R = item.value
        return result
    finally:
        if not _thread().ended:
            run(generator.close)


def _advanced(
    generator: Generator[Item, Any, Any], within: Callable[[], AbstractContextManager[object]]
) -> Item | _End:
    with within():
        try:
            return next(generator)
        except StopIteration as end:
            return _End(end.value)

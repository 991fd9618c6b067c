"""The MLX thread: everything of a job happens in it, and nothing of it is left when the process ends."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from networks import mlx_thread

ROOT = Path(__file__).parent.parent


def here() -> str:
    return threading.current_thread().name


def sum_here(a: int, *, b: int) -> tuple[int, str]:
    return a + b, here()


def counting(seen: list[str], stop: int = 5) -> Generator[int, None, None]:
    seen.append(f"made in {here()}")
    try:
        for number in range(stop):
            seen.append(f"{number} in {here()}")
            yield number
    finally:
        seen.append(f"closed in {here()}")


def test_a_job_runs_in_the_thread_and_its_result_comes_back() -> None:
    assert mlx_thread.run(sum_here, 1, b=2) == (3, "mlx")
    assert here() != "mlx"


def test_a_job_within_a_job_does_not_wait_for_itself() -> None:
    assert mlx_thread.run(lambda: mlx_thread.run(here)) == "mlx"
    assert mlx_thread.run(lambda: list(mlx_thread.iterate(lambda: counting([], 2)))) == [0, 1]


def test_an_exception_is_raised_in_the_caller_and_the_thread_lives_on() -> None:
    with pytest.raises(ZeroDivisionError):
        mlx_thread.run(lambda: 1 / 0)
    with pytest.raises(SystemExit):
        mlx_thread.run(sys.exit, 3)
    assert mlx_thread.run(here) == "mlx"


def test_a_generator_is_made_driven_and_closed_in_the_thread() -> None:
    seen: list[str] = []
    assert list(mlx_thread.iterate(lambda: counting(seen, 2))) == [0, 1]
    assert seen == ["made in mlx", "0 in mlx", "1 in mlx", "closed in mlx"]


def test_a_generator_is_driven_no_further_than_its_consumer_asks() -> None:
    seen: list[str] = []
    items = mlx_thread.iterate(lambda: counting(seen))
    assert next(items) == 0
    items.close()
    assert seen == ["made in mlx", "0 in mlx", "closed in mlx"]


def test_an_abandoned_generator_is_closed_too() -> None:
    seen: list[str] = []
    items = mlx_thread.iterate(lambda: counting(seen))
    next(items)
    del items
    gc.collect()
    assert seen[-1] == "closed in mlx"


def test_an_exception_of_a_generator_is_raised_where_it_is_consumed() -> None:
    def failing() -> Generator[int, None, None]:
        yield 1
        raise ValueError("no more")

    items = mlx_thread.iterate(failing)
    assert next(items) == 1
    with pytest.raises(ValueError, match="no more"):
        next(items)


def test_generators_of_several_consumers_take_turns() -> None:
    def sums(first: int) -> list[int]:
        return [first + number for number in mlx_thread.iterate(lambda: counting([], 50))]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(sums, range(4))) == [[first + n for n in range(50)] for first in range(4)]


def test_what_a_job_made_is_free_once_its_caller_let_go() -> None:
    class Model:
        pass

    def broken(model: Model) -> None:
        raise ValueError(model)

    model = mlx_thread.run(Model)
    known = weakref.ref(model)
    with pytest.raises(ValueError, match="Model"):
        mlx_thread.run(broken, model)
    del model
    assert known() is None


FAREWELLS = {
    "after a generator": "in_a_worker(lambda: list(mlx_thread.iterate(squares))).join()",
    "within a generator": "sys.kept = mlx_thread.iterate(squares); next(sys.kept)",
    "while a job runs": "in_a_worker(endless); started.wait()",
}
PROCESS = """
import sys, threading
from networks import mlx_thread
from core.errors import Cancelled

started = threading.Event()

def squares():
    import mlx.core as mx
    for number in range(3):
        yield (mx.arange(1000) ** 2 + number).sum().item()

def noises():
    import mlx.core as mx
    while True:
        yield mx.random.normal((64, 64)).sum().item()

def endless():
    try:
        for noise in mlx_thread.iterate(noises):
            started.set()
    except Cancelled:
        pass

def in_a_worker(target):
    worker = threading.Thread(target=target, daemon=True)
    worker.start()
    return worker

"""


@pytest.mark.parametrize("farewell", FAREWELLS.values(), ids=list(FAREWELLS))
def test_the_process_ends_cleanly(farewell: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROCESS + farewell], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")

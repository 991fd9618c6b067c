"""One list of packages for every machine: what each of them gets is told by markers."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
MACHINES = {
    "Mac of Apple's chips": {"sys_platform": "darwin", "platform_machine": "arm64", "platform_system": "Darwin"},
    "Mac of Intel's chips": {"sys_platform": "darwin", "platform_machine": "x86_64", "platform_system": "Darwin"},
    "Linux": {"sys_platform": "linux", "platform_machine": "x86_64", "platform_system": "Linux"},
    "Linux on Arm": {"sys_platform": "linux", "platform_machine": "aarch64", "platform_system": "Linux"},
}


def packages(file: str, machine: str) -> dict[str, Requirement]:
    """What a machine installs of a file, by name."""
    lines = (line.partition("#")[0].strip() for line in (ROOT / file).read_text().splitlines())
    wanted = [Requirement(line) for line in lines if line]
    return {each.name: each for each in wanted if each.marker is None or each.marker.evaluate(MACHINES[machine])}


@pytest.mark.parametrize("machine", MACHINES)
def test_mlx_comes_to_apple_silicon_and_spaces_to_linux_alone(machine: str) -> None:
    studio = packages("requirements.txt", machine)
    assert ("mlx" in studio, "mlx-lm" in studio) == (machine == "Mac of Apple's chips",) * 2
    assert ("spaces" in studio) == machine.startswith("Linux")
    assert {"torch", "diffusers", "transformers", "gradio"} <= set(studio)


@pytest.mark.parametrize("machine", MACHINES)
def test_on_linux_the_tests_bring_mlx_for_the_cpu(machine: str) -> None:
    tests = packages("requirements-test.txt", machine)
    assert ("mlx" in tests, "mlx-lm" in tests) == (machine.startswith("Linux"),) * 2
    if "mlx" in tests:
        assert tests["mlx"].extras == {"cpu"}

"""One list of versions for every machine and Python: what each of them gets is told by markers."""

from __future__ import annotations

import itertools
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from huggingface_hub import metadata_load
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RANGES = {"studio": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
FILES = ("requirements.txt", "requirements-test.txt")
OPEN = {"torch", "spaces"}
"""Packages whose version is decided elsewhere."""
MACHINES = {
    "Mac of Apple's chips": {"sys_platform": "darwin", "platform_machine": "arm64", "platform_system": "Darwin"},
    "Mac of Intel's chips": {"sys_platform": "darwin", "platform_machine": "x86_64", "platform_system": "Darwin"},
    "Linux": {"sys_platform": "linux", "platform_machine": "x86_64", "platform_system": "Linux"},
    "Linux on Arm": {"sys_platform": "linux", "platform_machine": "aarch64", "platform_system": "Linux"},
}
PYTHONS = ("3.11", "3.12", "3.13")
everywhere = pytest.mark.parametrize(("machine", "python"), [*itertools.product(MACHINES, PYTHONS)])


def lines_of(file: str) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in (ROOT / file).read_text().splitlines())
    return [line for line in lines if line]


def packages(lines: list[str], machine: str, python: str) -> dict[str, Requirement]:
    """What a machine installs by these lines, by name; it is told once."""
    there = {**MACHINES[machine], "python_version": python, "python_full_version": f"{python}.1"}
    wanted = [Requirement(line) for line in lines]
    here = [each for each in wanted if each.marker is None or each.marker.evaluate(there)]
    found = {str(canonicalize_name(each.name)): each for each in here}
    assert len(found) == len(here)
    return found


@everywhere
def test_mlx_comes_to_apple_silicon_and_spaces_to_linux_alone(machine: str, python: str) -> None:
    studio = packages(lines_of("requirements.txt"), machine, python)
    assert ("mlx" in studio, "mlx-lm" in studio) == (machine == "Mac of Apple's chips",) * 2
    assert ("spaces" in studio) == machine.startswith("Linux")
    assert {"torch", "diffusers", "transformers", "gradio"} <= set(studio)


@pytest.mark.parametrize("machine", ["Linux", "Linux on Arm"])
@pytest.mark.parametrize("python", PYTHONS)
def test_on_linux_the_tests_bring_mlx_for_the_cpu(machine: str, python: str) -> None:
    assert {"mlx", "mlx-lm", "mlx-cpu"} <= set(packages(lines_of("requirements-test.txt"), machine, python))


@everywhere
@pytest.mark.parametrize(("extra", "files"), [("studio", FILES[:1]), ("test", FILES)])
def test_what_is_declared_is_installed_in_one_version_within_its_range(
    extra: str, files: tuple[str, ...], machine: str, python: str
) -> None:
    pinned = {name: pin for file in files for name, pin in packages(lines_of(file), machine, python).items()}
    for name, wanted in packages(RANGES[extra], machine, python).items():
        if name in OPEN:
            assert pinned[name].specifier == wanted.specifier
        else:
            assert wanted.specifier.contains(exact(pinned[name])), name


def exact(pin: Requirement) -> str:
    (only,) = pin.specifier
    assert only.operator == "=="
    return only.version


@everywhere
def test_studio_and_tests_name_the_same_versions(machine: str, python: str) -> None:
    studio, tests = (packages(lines_of(file), machine, python) for file in FILES)
    assert {name: exact(studio[name]) for name in studio.keys() & tests.keys()} == {
        name: exact(tests[name]) for name in studio.keys() & tests.keys()
    }


@pytest.mark.parametrize("file", FILES)
def test_the_lock_names_versions_alone(file: str) -> None:
    """A Space mounts requirements.txt by itself when it installs: it can refer to no other file."""
    for line in lines_of(file):
        assert re.match(r"[a-z0-9-]+(==|>=|;)", line), line
        if Requirement(line).name not in OPEN:
            exact(Requirement(line))
    assert not re.search(r"--|://|@|\\", (ROOT / file).read_text())


def test_a_space_runs_the_gradio_and_a_python_that_are_locked() -> None:
    facts = metadata_load(ROOT / "README.md")
    assert facts["python_version"] in PYTHONS
    assert f"gradio=={facts['sdk_version']}" in lines_of("requirements.txt")


@pytest.mark.locked
@pytest.mark.parametrize("file", FILES)
def test_the_tests_run_on_the_versions_that_are_locked(file: str) -> None:
    pins = [Requirement(line) for line in lines_of(file)]
    here = {each.name: exact(each) for each in pins if each.name not in OPEN}
    here = {name: pin for name, pin in here.items() if applies(name, pins)}
    assert {name: version(name) for name in here} == here


def applies(name: str, pins: list[Requirement]) -> bool:
    return any(each.name == name and (each.marker is None or each.marker.evaluate()) for each in pins)

"""The house, walked file by file: floors, circles, frameworks behind their walls, and what no file may hold."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from core.knobs import Knob, knobs_of
from core.params import MODES
from core.requests import REQUESTS

ROOT = Path(__file__).parent.parent

FLOORS = (
    {"app"},
    {"ui", "cli", "training", "benchmarks"},
    {"backend"},
    {"jobs"},
    {"planner", "lyrics_lm", "post_process"},
    {"pipeline", "lyrics", "checkpoints"},
    {"library", "networks", "theme"},
    {"core"},
    {"tooltips"},
)
"""The rooms from top to bottom: a room imports from the floors below it, and from its neighbours without a circle."""

MOST_ROOMS, MOST_FLOORS, MOST_ROOT_ENTRIES = 20, 9, 30

FRAMEWORKS = ("torch", "mlx", "mlx_lm", "diffusers", "transformers", "tokenizers", "accelerate", "peft", "demucs")
WALLS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(FRAMEWORKS, ("networks", "training", "benchmarks")),
    "gradio": ("app", "ui", "theme"),
    "gradio_client": ("app", "ui", "benchmarks"),
    "spaces": ("jobs.lease",),
    "ray": ("jobs.cluster",),
    "mcp": ("ui.mcp",),
}
"""Who may import a framework, be it inside a function: rooms, or single modules of them."""

CORE_KNOWS = {"yaml"}
"""What core may import besides the standard library."""

MODULES = {"mlx-lm": "mlx_lm", "pillow": "PIL", "pyyaml": "yaml"}
"""Packages whose module has another name."""


def names_of_modules() -> dict[str, Path]:
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [Path(line) for line in listed.splitlines() if not line.startswith(("tests/", "docs/", "examples/"))]
    assert len(files) > 100
    return {".".join(path.with_suffix("").parts).removesuffix(".__init__"): path for path in files}


SOURCES = names_of_modules()
"""Every module that ships, tests apart, by its dotted name."""


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse((ROOT / SOURCES[module]).read_text(encoding="utf-8"), str(SOURCES[module]))


def room_of(module: str) -> str:
    return module.partition(".")[0]


def imports_of(tree: ast.AST) -> Iterator[str]:
    """Full names of what is imported anywhere in a file, inside functions and for the type checker too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def own_imports(module: str, *, typing: bool) -> frozenset[str]:
    """The modules of this repository that a module imports; with `typing` those for the type checker too."""
    tree = tree_of(module)
    skipped: set[str] = set()
    if not typing:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
                skipped |= set(imports_of(node))
    found = set()
    for name in set(imports_of(tree)) - skipped:
        parts = name.split(".")
        candidates = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
        found.add(next((each for each in candidates if each in SOURCES), module))
    return frozenset(found - {module})


def circle_in(graph: Mapping[str, set[str] | frozenset[str]]) -> str:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return " -> ".join(error.args[1])
    return ""


def rooms() -> dict[str, set[str]]:
    """The rooms that each room imports from."""
    graph: dict[str, set[str]] = {}
    for module in SOURCES:
        own = room_of(module)
        graph.setdefault(own, set()).update({room_of(each) for each in own_imports(module, typing=True)} - {own})
    return graph


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for module in SOURCES:
        for node in ast.walk(tree_of(module)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{module}.{node.name}", node


def test_every_room_has_its_floor_and_the_house_stays_small() -> None:
    placed = [room for floor in FLOORS for room in floor]
    assert len(placed) == len(set(placed))
    assert set(rooms()) == set(placed)
    assert len(placed) <= MOST_ROOMS
    assert len(FLOORS) <= MOST_FLOORS
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert len({line.partition("/")[0] for line in listed.splitlines()}) <= MOST_ROOT_ENTRIES


def test_no_way_down_the_house_is_longer_than_it_has_floors() -> None:
    graph = rooms()

    @cache
    def depth(room: str) -> int:
        return 1 + max((depth(each) for each in graph[room]), default=0)

    assert max(map(depth, graph)) <= MOST_FLOORS


def test_no_arrow_points_up() -> None:
    floor = {room: number for number, each in enumerate(FLOORS) for room in each}
    upward = {
        f"{module} imports {other}"
        for module in SOURCES
        for other in own_imports(module, typing=True)
        if floor[room_of(other)] < floor[room_of(module)]
    }
    assert upward == set()


def test_neither_rooms_nor_files_import_each_other_in_circles() -> None:
    assert circle_in(rooms()) == ""
    assert circle_in({module: own_imports(module, typing=False) for module in SOURCES}) == ""


def test_frameworks_stay_within_their_walls() -> None:
    outside = {
        f"{module} imports {name}"
        for module in SOURCES
        for name in imports_of(tree_of(module))
        if (inside := WALLS.get(name.partition(".")[0])) is not None
        and not any(f"{module}.".startswith(f"{room}.") for room in inside)
        and not only_for_types(module, name)
    }
    assert outside == set()


def only_for_types(module: str, name: str) -> bool:
    """Whether an import stands under TYPE_CHECKING alone: such a one loads nothing."""
    guarded, free = 0, 0
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            guarded += sum(each == name for each in imports_of(node))
    free = sum(each == name for each in imports_of(tree_of(module)))
    return free == guarded


def test_core_knows_no_framework_no_network_and_no_other_room() -> None:
    imported = {
        name.partition(".")[0]
        for module in SOURCES
        if room_of(module) == "core"
        for name in imports_of(tree_of(module))
        if not only_for_types(module, name)
    }
    assert imported - set(sys.stdlib_module_names) - {"core"} - CORE_KNOWS == set()
    assert imported & {"socket", "urllib", "http", "subprocess"} == set()


def test_every_package_that_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = project["dependencies"] + extras["scale"] + extras["mcp"]
    named = [re.split(r"[<>=!~;\[ ]", line)[0] for line in lines]
    declared = {MODULES.get(name, name) for name in named}
    ours = {room_of(module) for module in SOURCES}
    shipped = [module for module in SOURCES if room_of(module) not in ("benchmarks",)]
    imported = {name.partition(".")[0] for module in shipped for name in imports_of(tree_of(module))}
    assert imported - ours - declared - set(sys.stdlib_module_names) == set()


def test_the_page_can_be_built_without_loading_a_framework() -> None:
    heavy = {"torch", "diffusers", "transformers", "mlx", "peft"}
    code = f"import sys, app, ui.page, backend; sys.stdout.write(' '.join({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0), done.stderr


@pytest.mark.parametrize("module", ["checkpoints.find", "library.tracks", "cli.main", "networks.acestep.open"])
def test_what_a_start_needs_loads_no_framework_by_itself(module: str) -> None:
    code = f"import sys, {module}; sys.exit(bool({{'torch', 'diffusers', 'gradio'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_nothing_is_printed() -> None:
    calls = (node for module in SOURCES for node in ast.walk(tree_of(module)) if isinstance(node, ast.Call))
    assert [node.lineno for node in calls if isinstance(node.func, ast.Name) and node.func.id == "print"] == []


def test_no_exception_is_caught_without_its_name() -> None:
    handlers = [
        f"{module}:{node.lineno}"
        for module in SOURCES
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.ExceptHandler) and node.type is None
    ]
    assert handlers == []


def test_docstrings_say_what_there_is_and_not_what_there_is_not() -> None:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    texts = {
        f"{module}: {text[:60]}"
        for module in SOURCES
        for node in ast.walk(tree_of(module))
        if isinstance(node, documented) and (text := ast.get_docstring(node) or "").startswith(("Nothing;", "See "))
    }
    assert texts == set()


def test_one_function_is_leased_and_one_place_asks_again() -> None:
    leased = [
        name
        for name, node in functions()
        for decorator in node.decorator_list
        if ast.unparse(decorator).startswith(("gpu_lease", "spaces.GPU", "GPU"))
    ]
    assert leased == ["jobs.lease._leased"]


def test_functions_take_at_most_six_values_by_position() -> None:
    positional = {
        name: [
            argument.arg
            for argument in (*node.args.posonlyargs, *node.args.args)
            if argument.arg not in ("self", "cls")
        ]
        for name, node in functions()
    }
    assert {name: arguments for name, arguments in positional.items() if len(arguments) > 6} == {}


def test_a_knob_has_the_same_facts_wherever_it_is_asked_for() -> None:
    facts: dict[str, dict[str, Knob]] = {}
    for owner, request_class in REQUESTS.items():
        for knob in knobs_of(request_class):
            facts.setdefault(knob.name, {})[owner] = knob
    for name, owners in facts.items():
        seen = {(knob.kind, knob.low, knob.high, knob.step, knob.unit) for knob in owners.values()}
        assert len(seen) == 1, f"{name} differs between {', '.join(owners)}"
        widest = max((knob.choices for knob in owners.values()), key=len)
        narrowed = [tuple(value for value in widest if value in knob.choices) for knob in owners.values()]
        assert narrowed == [knob.choices for knob in owners.values()], f"{name} means other values somewhere"


def test_no_request_declares_a_knob_again_that_it_inherits() -> None:
    for request_class in MODES.values():
        inherited = {name for base in request_class.__mro__[1:] for name in getattr(base, "__annotations__", {})}
        again = inherited & set(request_class.__annotations__) & {knob.name for knob in knobs_of(request_class)}
        assert again == set(), request_class.__name__


WORDS = ("lyrics", "lyrics_lm")
"""Rooms where the knobs of the lyrics are at home: their `seed` is not that of a song."""

WALKS = {"seed": WORDS, "duration_s": (), "lm_cfg_scale": (), "top_p": ()}
"""Knobs whose way from the widget to the use is counted, and rooms where the name means something else."""


@pytest.mark.parametrize("knob", WALKS)
def test_a_knob_enters_few_rooms_between_its_widget_and_its_use(knob: str) -> None:
    entered = {
        room_of(module)
        for module in SOURCES
        if room_of(module) not in ("training", "benchmarks", *WALKS[knob])
        and re.search(rf"(?<![\w-]){knob}(?![\w-])", (ROOT / SOURCES[module]).read_text(encoding="utf-8"))
    }
    assert len(entered) <= 9, f"{knob} enters {', '.join(sorted(entered))}"

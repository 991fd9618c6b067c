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
from core.lyrics import DRAFTS
from core.params import MODES

ROOT = Path(__file__).parent.parent

LAYERS = (
    {"app"},
    {"ui", "cli", "theme", "gradio_start", "reference", "training"},
    {"backend"},
    {"lease"},
    {
        "pipeline",
        "planner",
        "drafts",
        "composer",
        "lyrics_lm",
        "musicgen",
        "post_process",
        "library",
        "estimates",
        "downloads",
    },
    {
        "lm",
        "mlx_thread",
        "runtimes",
        "sampler",
        "contexts",
        "flow_edit",
        "lora",
        "audio",
        "analysis",
        "timeline",
        "prompts",
        "plans",
    },
    {"params", "resolve", "checkpoints", "fingerprint"},
    {"knobs"},
    {"errors", "events", "tooltips", "adapter_list"},
)
"""The rooms from top to bottom: a room imports from its own row and from those below it."""

FAMILIES = {
    "backend_*": "backend",
    "drafts_*": "drafts",
    "instruments": "composer",
    "pronunciation": "lyrics_lm",
    "hub": "downloads",
    "manifest": "downloads",
    "meter": "downloads",
    "shelf": "downloads",
    "cli_*": "cli",
    "composer_*": "composer",
    "lora_*": "lora",
    "lyrics_*": "lyrics_lm",
    "params_*": "params",
    "pipeline_*": "pipeline",
    "planner_*": "planner",
    "ui_*": "ui",
}
"""Files that are part of another room."""

NETWORKS = {
    "sampler",
    "contexts",
    "flow_edit",
    "lm",
    "mlx_thread",
    "runtimes",
    "planner",
    "lyrics_lm",
    "musicgen",
    "post_process",
    "lora",
    "training",
}
WALLS: Mapping[str, set[str]] = {
    "gradio": {"app", "gradio_start", "ui", "theme"},
    "gradio_client": {"app", "ui"},
    "spaces": {"lease"},
    **dict.fromkeys(
        ("torch", "mlx", "mlx_lm", "diffusers", "transformers", "tokenizers", "accelerate", "peft"), NETWORKS
    ),
}
"""Who may import a framework, be it inside a function."""

MODULES = {"mlx-lm": "mlx_lm", "pyyaml": "yaml"}
"""Packages whose module has another name."""

OPTIONAL = {"mlx_audio", "demucs"}
"""Packages that work without being in requirements.txt."""


SOURCES = ("*.py", "lm/**/*.py", "runtimes/**/*.py", "training/**/*.py")


@cache
def sources() -> tuple[Path, ...]:
    """Every Python file that ships, tests apart."""
    return tuple(
        sorted(
            path
            for folder in ("*.py", "lm/**/*.py", "runtimes/**/*.py", "training/**/*.py")
            for path in ROOT.glob(folder)
        )
    )


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def room_of(module: str) -> str:
    """The room of a module's name: its package, or the family it belongs to."""
    top = module.partition(".")[0]
    family = next((pattern for pattern in FAMILIES if Path(top).match(pattern)), None)
    return FAMILIES[family] if family and top not in {room for layer in LAYERS for room in layer} else top


def own_room(path: Path) -> str:
    return room_of(".".join(path.relative_to(ROOT).with_suffix("").parts))


def imports_of(tree: ast.AST, *, typing: bool) -> Iterator[str]:
    """Names of the modules imported anywhere in a file; with `typing` those for the type checker too."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING") and not typing:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""
        yield from imports_of(node, typing=typing)


def rooms_imported(path: Path) -> set[str]:
    ours = {
        room_of(source.stem if source.parent == ROOT else source.relative_to(ROOT).parts[0]) for source in sources()
    }
    return {room_of(name) for name in imports_of(tree_of(path), typing=True)} & ours - {own_room(path)}


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path in sources():
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{path.relative_to(ROOT)}: {node.name}", node


def test_every_file_has_its_place_in_one_layer() -> None:
    rooms = [room for layer in LAYERS for room in layer]
    assert len(rooms) == len(set(rooms))
    assert {own_room(path) for path in sources()} - set(rooms) == set()


def test_no_arrow_points_up() -> None:
    depth = {room: number for number, layer in enumerate(LAYERS) for room in layer}
    upward = {
        f"{path.relative_to(ROOT)} imports {room}"
        for path in sources()
        for room in rooms_imported(path)
        if depth.get(room, 0) < depth.get(own_room(path), 0)
    }
    assert upward == set()


def test_rooms_do_not_import_each_other_in_circles() -> None:
    graph: dict[str, set[str]] = {}
    for path in sources():
        graph.setdefault(own_room(path), set()).update(rooms_imported(path))
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_frameworks_stay_within_their_walls() -> None:
    outside = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources()
        for name in imports_of(tree_of(path), typing=False)
        if own_room(path) not in WALLS.get(name.partition(".")[0], {own_room(path)})
    }
    assert outside == set()


def test_every_package_that_is_imported_is_declared() -> None:
    lines = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    named = [re.split(r"[<>=!~;\[ ]", line)[0] for line in lines]
    declared = {MODULES.get(name, name) for name in named}
    ours = {source.stem for source in sources()} | {"lm", "runtimes", "training"}
    imported = {name.partition(".")[0] for path in sources() for name in imports_of(tree_of(path), typing=True)}
    assert imported - ours - declared - OPTIONAL - set(sys.stdlib_module_names) == set()


def test_the_page_can_be_built_without_loading_a_framework() -> None:
    heavy = {"torch", "diffusers", "transformers", "mlx", "peft"}
    code = f"import sys, app, ui, backend, params; sys.stdout.write(' '.join({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0), done.stderr


@pytest.mark.parametrize("package", ["runtimes", "checkpoints", "library", "cli"])
def test_rooms_that_the_page_needs_load_no_framework_by_themselves(package: str) -> None:
    code = f"import sys, {package}; sys.exit(bool({{'torch', 'diffusers', 'gradio'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_nothing_is_printed() -> None:
    calls = (node for path in sources() for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call))
    assert [node.lineno for node in calls if isinstance(node.func, ast.Name) and node.func.id == "print"] == []


def test_no_exception_is_caught_without_its_name() -> None:
    handlers = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sources()
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ExceptHandler) and node.type is None
    ]
    assert handlers == []


def test_files_fit_in_one_head() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in sources()}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_functions_are_short() -> None:
    lengths = {name: (node.end_lineno or 0) - node.lineno + 1 for name, node in functions()}
    assert {name: length for name, length in lengths.items() if length > 45} == {}


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


def test_a_knob_has_the_same_facts_in_every_mode() -> None:
    facts: dict[str, dict[str, Knob]] = {}
    for mode, request_class in (*MODES.items(), *DRAFTS.items()):
        for knob in knobs_of(request_class):
            facts.setdefault(knob.name, {})[mode] = knob
    for name, modes in facts.items():
        seen = {(knob.kind, knob.low, knob.high, knob.step, knob.unit) for knob in modes.values()}
        assert len(seen) == 1, f"{name} differs between {', '.join(modes)}"
        widest = max((knob.choices for knob in modes.values()), key=len)
        narrowed = [tuple(value for value in widest if value in knob.choices) for knob in modes.values()]
        assert narrowed == [knob.choices for knob in modes.values()], f"{name} means other values in some mode"


def test_no_request_declares_a_knob_again_that_it_inherits() -> None:
    for request_class in MODES.values():
        inherited = {name for base in request_class.__mro__[1:] for name in getattr(base, "__annotations__", {})}
        again = inherited & set(request_class.__annotations__) & {knob.name for knob in knobs_of(request_class)}
        assert again == set(), request_class.__name__

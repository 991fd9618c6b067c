"""What a song's samples hang on, in few digits: a request's key, the code's version, the fingerprint of weights."""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from core.knobs import Json
from core.paths import ROOT

RENDERING = (
    *("pipeline.py", "planner/*/planner.py", "networks/acestep/open.py", "checkpoints/table.py"),
    *("jobs/musicgen.py", "networks/musicgen/open.py"),
)
"""Where the code that makes samples begins: the stages, what is handed to them, and how checkpoints want to be run.

Whatever these import belongs to it, step by step. Drafts, lyrics and the page do not: what they make reaches a song as
a value of its request, which stands in the key.
"""

ACTIONS = ("post_process.py",)
"""Where the code begins that makes something of a song."""

DATA = (".json", ".toml", ".txt")
"""Files that modules read from their own folder."""

END_BYTES = 65_536
"""Read of each end of a file: the names, types and shapes of the tensors stand at the start."""


def cache_key(values: Mapping[str, Json], hashes: Mapping[str, str], *versions: str) -> str:
    """The name of what a resolved request makes: equal keys, equal samples.

    `values` are the request's by name; those of its audio files count by their `hashes`, not by their places. Pass in
    `versions` whatever else decides the samples, such as checkpoint and number format; the code is always part of it.
    """
    parts = [dict(values) | dict(hashes), *versions, code_version()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def companion_key(values: Mapping[str, Json], *versions: str) -> str:
    """The name of what an action makes of a song: equal keys, equal files. The code is part of it."""
    parts = [dict(values), *versions, code_version(begins=ACTIONS)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@cache
def code_version(root: Path = ROOT, begins: tuple[str, ...] = RENDERING) -> str:
    """Twelve hexadecimal digits that change with whatever decides samples, and with nothing else.

    That is the code below `root` which those files reach, the data beside it, and the versions of the packages that
    it imports: another PyTorch adds in another order, and a song would not come out the same to the last bit.
    """
    files, packages = deciding(root, begins)
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{path.relative_to(root).as_posix()}\n".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    for name in sorted(packages):
        digest.update(f"{name} {_version(name)}\n".encode())
    return digest.hexdigest()[:12]


def deciding(root: Path = ROOT, begins: tuple[str, ...] = RENDERING) -> tuple[set[Path], set[str]]:
    """(files below `root`, names of others' packages) that decide samples: found in a quarter of a second."""
    ours = {path.stem for path in root.iterdir()}
    files: set[Path] = set()
    packages: set[str] = set()
    waiting = [path for pattern in begins for path in root.glob(pattern)]
    while waiting:
        path = waiting.pop()
        if path in files:
            continue
        files.add(path)
        waiting += (init for folder in path.parents if (init := folder / "__init__.py").is_file())
        for name in _imported(ast.parse(path.read_bytes()).body):
            top = name.partition(".")[0]
            if top in ours:
                base = root.joinpath(*name.split("."))
                waiting += (module for module in (base.with_suffix(".py"), base / "__init__.py") if module.is_file())
            else:
                packages.add(top)
    folders = {path.parent for path in files} - {root}
    data = {path for folder in folders for path in folder.iterdir() if path.suffix in DATA}
    return files | data, packages - sys.stdlib_module_names


def _imported(statements: list[ast.stmt]) -> Iterator[str]:
    """The full names that the statements import, but for those that only a type checker sees.

    What is imported from a module may be a module too.
    """
    for statement in statements:
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            yield statement.module
            yield from (f"{statement.module}.{alias.name}" for alias in statement.names)
        elif isinstance(statement, ast.If) and getattr(statement.test, "id", "") == "TYPE_CHECKING":
            yield from _imported(statement.orelse)
        else:
            yield from _imported([node for node in _below(statement) if isinstance(node, ast.stmt)])


def _below(statement: ast.stmt) -> Iterator[ast.AST]:
    """The statements within one, without a look at its expressions, which are most of a file."""
    for name in ("body", "orelse", "finalbody"):
        yield from getattr(statement, name, ())
    for name in ("handlers", "cases"):
        for part in getattr(statement, name, ()):
            yield from part.body


def _version(package: str) -> str:
    """The version of an installed package; empty where it is not here, as another system's frameworks are not."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def fingerprint(folder: Path) -> str:
    """Sixteen hexadecimal digits for the safetensors files below a folder: their names, sizes and ends.

    The same for the same weights, another for others, without reading them all.
    """
    files = sorted(folder.rglob("*.safetensors"))
    return _of(tuple((file, file.stat().st_size, file.stat().st_mtime_ns) for file in files))


@cache
def _of(files: tuple[tuple[Path, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for file, size, _ in files:
        digest.update(f"{file.name} {size}".encode())
        with file.open("rb") as weights:
            digest.update(weights.read(END_BYTES))
            weights.seek(max(0, size - END_BYTES))
            digest.update(weights.read())
    return digest.hexdigest()[:16]

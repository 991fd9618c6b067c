"""Whether a package of the lock has a known weakness, as Python's advisory database tells: run with -m audit.

It is asked over the network, for which nobody who runs the tests gave leave: continuous integration does.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.test_requirements import FILES, lines_of

ASKED_S = 300


def auditor() -> list[str]:
    """The command that audits: the extra of that name, or what uv brings for the moment; nothing where neither is."""
    if find_spec("pip_audit"):
        return [sys.executable, "-m", "pip_audit"]
    return [found, "pip-audit"] if (found := shutil.which("uvx")) else []


@pytest.mark.audit
@pytest.mark.parametrize("file", FILES)
def test_no_package_of_the_lock_has_a_known_weakness(file: str, tmp_path: Path) -> None:
    if not (command := auditor()):
        warnings.warn(f"{file} was not checked: pip-audit is not installed", stacklevel=1)
        return
    pins = tmp_path / file
    pins.write_text("\n".join(line for line in lines_of(file) if "==" in line.partition(";")[0]))
    options = ["--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off", "--timeout", "15"]
    done = subprocess.run(
        [*command, "-r", str(pins), *options], capture_output=True, text=True, check=False, timeout=ASKED_S
    )
    try:
        told = json.loads(done.stdout)["dependencies"]
    except ValueError:  # the database does not answer: no reason to hold up whoever is offline
        warnings.warn(f"{file} was not checked: {done.stderr[-500:]}", stacklevel=1)
        return
    skipped = [each["name"] for each in told if "skip_reason" in each]
    if skipped:
        warnings.warn(f"of {file} not checked: {', '.join(skipped)}", stacklevel=1)
    weak = {
        f"{each['name']} {each['version']}": [weakness["id"] for weakness in each["vulns"]]
        for each in told
        if each.get("vulns")
    }
    assert weak == {}

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PYTHON = f"{sys.base_prefix}/bin/python3"
TOOLS = ("bash", "cat", "cksum", "cp", "dirname", "env", "grep", "readlink", "rm", "sleep", "uname")
NO_PYTHON = (
    "studio: Python 3.11 or newer was not found; install it from https://www.python.org/downloads and run this again.\n"
)
PATIENCE_S = 300
"""How long a start may take, an environment being made, on a machine that is slow and busy."""

APP = """
import os, pathlib, sys
print(sys.argv[1:], pathlib.Path.cwd(), sys.prefix)
sys.exit(int(os.environ.get("APP_EXIT", 0)))
"""


class Checkout:
    """A clone with an app that tells how it was started, and a machine with few tools and no network."""

    def __init__(self, home: Path) -> None:
        self.root, self.bin = home / "a clone", home / "bin"
        self.venv = self.root / ".venv"
        self.root.mkdir()
        self.bin.mkdir()
        shutil.copy(ROOT / "studio", self.root)
        (self.root / "app.py").write_text(APP)
        (self.root / "requirements.txt").write_text("# nothing\n")
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool) or pytest.fail(f"no {tool}"))
        self.put("python3", f'exec "{PYTHON}" "$@"')

    def put(self, name: str, script: str) -> None:
        """Puts a program on the machine's PATH."""
        (self.bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.bin / name).chmod(0o755)

    def put_python(self, venv: str) -> None:
        """Puts a Python on the PATH that makes an environment at $3 by this piece of shell."""
        self.put("python3", f'case "$*" in *version_info*) echo "$0";; "-m venv"*) {venv};; *) exit 127;; esac')

    def start(self, *arguments: str, command: Path | None = None, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(command or self.root / "studio"), *arguments],
            cwd=self.bin,
            env={"PATH": str(self.bin), "PIP_NO_INDEX": "1", "HOME": str(self.bin), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # As from a terminal: a shell lets what it starts in the background ignore interrupts, and so on down.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def run(self, *arguments: str, command: Path | None = None, **environment: str) -> tuple[int, str, str]:
        """(exit code, standard output, standard error) of the studio command."""
        process = self.start(*arguments, command=command, **environment)
        out, err = process.communicate(timeout=PATIENCE_S)
        return process.returncode, out, err

    def started(self, *arguments: str) -> str:
        """What the app says when it is started with these arguments."""
        return f"{list(arguments)} {self.bin} {self.venv}\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout whose environment is made."""
    checkout = Checkout(tmp_path_factory.mktemp("made"))
    code, out, err = checkout.run("generate", "--prompt", 'two "words"')
    assert (code, out) == (0, checkout.started("generate", "--prompt", 'two "words"')), err
    stages = [re.sub(r"with /\S+", "with Python", line) for line in err.splitlines() if line.startswith("studio: ")]
    assert stages == [
        "studio: making .venv with Python",
        "studio: installing the packages of requirements.txt; this can take a few minutes",
    ]
    # From here on environments are copied from this one: making one takes seconds. With their times, by which Python
    # knows byte code that is out of date: compiling pip takes a second.
    template = checkout.root.parent / "template"
    shutil.copytree(checkout.venv, template, symlinks=True)
    checkout.put_python(f"cp -Rp '{template}' \"$3\"")
    return checkout


@pytest.fixture
def fresh(tmp_path: Path) -> Checkout:
    """A checkout that was never started."""
    return Checkout(tmp_path)


def test_the_second_run_only_starts_the_app_where_the_user_stands(made: Checkout) -> None:
    assert made.run("--port", "80 80") == (0, made.started("--port", "80 80"), "")
    assert made.run() == (0, made.started(), "")


def test_the_exit_code_is_the_apps(made: Checkout) -> None:
    assert made.run("generate", APP_EXIT="3")[0] == 3


def test_a_link_to_the_command_works_from_anywhere(made: Checkout) -> None:
    link = made.bin / "my-studio"
    link.symlink_to(made.root / "studio")
    assert made.run("x", command=link) == (0, made.started("x"), "")


def test_packages_that_cannot_be_had_are_told_in_one_sentence_and_harm_nothing(made: Checkout) -> None:
    requirements = made.root / "requirements.txt"
    before = requirements.read_text()
    requirements.write_text("no-such-package==1\n")
    code, out, err = made.run("x")
    assert (code, out) == (1, "")
    assert err.splitlines()[-1] == (
        "studio: the packages could not be installed; check the network and pip's settings, then run this again."
    )
    requirements.write_text(before)
    assert made.run("x") == (0, made.started("x"), "")


def test_changed_requirements_are_installed_into_the_same_environment(made: Checkout) -> None:
    (made.venv / "kept").touch()
    (made.root / "requirements.txt").write_text("# other\n")
    code, out, err = made.run("x")
    assert (code, out) == (0, made.started("x"))
    assert "installing" in err and "making" not in err
    assert (made.venv / "kept").exists()


@pytest.mark.parametrize("with_marker", [True, False], ids=["cut off", "python gone"])
def test_a_broken_environment_is_made_anew(made: Checkout, with_marker: bool) -> None:
    (made.venv / "half-written").touch()
    if with_marker:
        dead = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, check=True).stdout
        (made.root / ".venv-incomplete").write_bytes(dead)
    else:
        (made.venv / "bin" / "python").unlink()
    code, out, err = made.run("x")
    assert (code, out) == (0, made.started("x")), err
    assert "making .venv" in err
    assert not (made.venv / "half-written").exists()
    assert not (made.root / ".venv-incomplete").exists()


def test_an_interrupt_while_packages_are_written_is_repaired_by_the_next_run(made: Checkout, fresh: Checkout) -> None:
    template = made.root.parent / "template"
    # This pip takes its time, and tells an interrupt as an ordinary failure, as the real one does.
    at_work = fresh.bin / "at-work"
    pip = f'trap "exit 1" INT; echo >"{at_work}"; while :; do sleep 0.1; done'
    fresh.put("slow", f'case "$*" in *"pip install"*) {pip};; *) exec {PYTHON} "$@";; esac')
    fresh.put_python(f'cp -Rp \'{template}\' "$3"; rm "$3"/bin/python; cp \'{fresh.bin}/slow\' "$3"/bin/python')
    process = fresh.start("x")
    assert process.stderr is not None
    while not at_work.exists():
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=PATIENCE_S) == 130
    process.communicate()
    assert (fresh.root / ".venv-incomplete").exists()
    fresh.put_python(f"cp -Rp '{template}' \"$3\"")
    code, out, err = fresh.run("x")
    assert (code, out) == (0, fresh.started("x")), err
    assert "making .venv" in err


def test_a_second_run_waits_for_the_one_that_makes_the_environment(made: Checkout) -> None:
    other = subprocess.Popen(["sleep", "600"])
    (made.root / ".venv-incomplete").write_text(str(other.pid))
    process = made.start("x")
    assert process.stderr is not None
    assert process.stderr.readline() == f"studio: waiting for process {other.pid}, which is making the environment\n"
    assert process.poll() is None
    other.kill()
    other.wait()
    assert process.communicate(timeout=PATIENCE_S)[0] == made.started("x")


def test_an_environment_of_another_python_than_asked_for_is_made_anew(made: Checkout) -> None:
    template = made.root.parent / "template"
    (made.bin / "pythons of mine").mkdir()
    made.put("mine", f'case "$*" in *base_prefix*) echo mine;; *) exec "{template}/bin/python" "$@";; esac')
    made.put(
        "pythons of mine/python3.12",
        f"""case "$*" in *version_info*) echo "$0";; *base_prefix*) echo mine;;
        "-m venv"*) cp -Rp '{template}' "$3" && rm "$3/bin/python" && cp '{made.bin}/mine' "$3/bin/python";; esac""",
    )
    asked = str(made.bin / "pythons of mine" / "python3.12")
    code, _, err = made.run("x", STUDIO_PYTHON=asked)
    assert code == 0 and f"making .venv with {asked}" in err, err
    # It is kept for as long as nothing else is asked for.
    assert (made.run("x", STUDIO_PYTHON=asked)[2], made.run("x")[2]) == ("", "")
    made.put(
        "python3",
        f"""case "$*" in *version_info*) echo "$0";; "-m venv"*) cp -Rp '{template}' "$3";;
        *) exec "{PYTHON}" "$@";; esac""",
    )
    code, out, err = made.run("x", STUDIO_PYTHON="python3")
    assert (code, out) == (0, made.started("x")) and "making .venv with" in err, err
    assert made.run("x", STUDIO_PYTHON="python3") == (0, made.started("x"), "")


@pytest.mark.parametrize("asked", ["no-such-python", "old"])
def test_a_python_that_cannot_be_used_is_named_and_harms_nothing(made: Checkout, asked: str) -> None:
    made.put("old", f"exec {PYTHON} -c 'raise SystemExit(1)'")
    assert made.run("x", STUDIO_PYTHON=asked) == (
        1,
        "",
        f"studio: STUDIO_PYTHON={asked} is no Python 3.11 or newer; give the name or the path of one.\n",
    )
    assert made.run("x") == (0, made.started("x"), "")


PROJECT = """
dependencies = [
    "spaces; sys_platform == 'linux'",
    "torch>=2.8,<2.14",
    "tqdm>=4",
]
"""
RESOLVED = """nvidia-cublas==13.1
psutil==7.0
setuptools==84.0
spaces==0.5
torch==2.13.0
tqdm==4.70.1
zipp==4.1 ; python_full_version < '3.13'
"""


def test_the_lock_pins_all_but_what_machines_and_spaces_decide(fresh: Checkout) -> None:
    for tool in ("mktemp", "sed"):
        (fresh.bin / tool).symlink_to(shutil.which(tool) or pytest.fail(f"no {tool}"))
    (fresh.root / "pyproject.toml").write_text(PROJECT)
    (fresh.root / "requirements.txt").write_text("tqdm==4.70.0\n")
    (fresh.root / "requirements-test.txt").write_text("pytest==8\n")
    fresh.put(
        "uv",
        f"""echo "$@" >> asked
        for word; do if [ "$before" = --output-file ]; then file=$word; fi; before=$word; done
        case "$*" in *--all-extras*) cat "$file" >> seed;; esac
        echo "{RESOLVED}" > "$file"
        case "$*" in *"--extra test"*) echo pytest==9.0 >> "$file";; esac
        exit $UV_EXIT""",
    )
    # A failure changes nothing.
    assert fresh.run("lock", UV_EXIT="2")[0] == 2
    assert (fresh.root / "requirements.txt").read_text() == "tqdm==4.70.0\n"
    code, out, err = fresh.run("lock", "--upgrade-package", "tqdm", UV_EXIT="0")
    assert (code, out, err) == (0, "", "")
    written = [
        (fresh.root / name).read_text().splitlines()[1:] for name in ("requirements.txt", "requirements-test.txt")
    ]
    assert [[line for line in lines if line] for lines in written] == [
        [
            *("spaces; sys_platform == 'linux'", "torch>=2.8,<2.14"),
            "tqdm==4.70.1",
            "zipp==4.1 ; python_full_version < '3.13'",
        ],
        ["pytest==9.0"],
    ]
    assert (fresh.root / "seed").read_text() == "tqdm==4.70.0\npytest==8\n" * 2
    assert "--upgrade-package tqdm" in (fresh.root / "asked").read_text()


@pytest.mark.parametrize("python", ["exit 127", f"exec {PYTHON} -c 'raise SystemExit(1)'"], ids=["none", "old"])
def test_without_a_new_enough_python_one_sentence_says_what_to_do(fresh: Checkout, python: str) -> None:
    fresh.put("python3", python)
    assert fresh.run("generate") == (1, "", NO_PYTHON)
    assert not fresh.venv.exists()


def test_a_python_without_venv_is_told_apart(fresh: Checkout) -> None:
    fresh.put_python("exit 1")
    code, out, err = fresh.run("generate")
    assert (code, out) == (1, "")
    assert "cannot make an environment; install its venv package" in err


def test_the_script_keeps_to_the_bash_that_macos_ships() -> None:
    script = (ROOT / "studio").read_text()
    assert re.findall(r"declare -A|mapfile|readarray|\$\{\w+(?:,,|\^\^)|&>>|\|&|\bcoproc\b|\[\[ -v", script) == []
    for name in ("studio", ".ci/run"):
        assert subprocess.run(["bash", "-n", ROOT / name], check=False).returncode == 0
        assert os.access(ROOT / name, os.X_OK)

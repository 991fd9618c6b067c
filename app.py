"""The composition root: reads the environment and the command line, builds the studio and its page, and serves it.

A first word that is no option belongs to the command line's one-shot jobs (see cli.py).
"""

from __future__ import annotations

import argparse
import dataclasses
import ipaddress
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backend import Settings

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
# Read when torch is first imported. Threads that wait must not spin: on a machine that is busy with other things
# they take the time from those that work.
os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Spaces, which Gradio imports, deletes weights from Hugging Face's cache once it has packed them (seen in spaces
# 0.51.3), and a leased process that opens them again would find none. No file matches this pattern of what may go.
os.environ.setdefault("ZEROGPU_MMAP_AUTOPRUNE_PATTERN", "/nothing")

HOSTED = bool(os.environ.get("SPACE_ID"))
"""Whether this is a Hugging Face Space: strangers share it, and a proxy stands in front."""

PORT = 7860
MAX_UPLOAD = "1gb"


def parser() -> argparse.ArgumentParser:
    """The options of the server."""
    from cli import main as cli

    options = argparse.ArgumentParser(
        prog="studio",
        description="Serve the studio's page.",
        epilog="One-shot jobs: studio generate | cover | extend | edit | lyrics | plan | draft | enhance | understand, "
        "each with --help.",
    )
    options.add_argument("--port", type=int, default=PORT, help=f"default: {PORT}")
    options.add_argument("--host", default="0.0.0.0" if HOSTED else "127.0.0.1", help="default: this machine only")
    options.add_argument("--share", action="store_true", help="make a public link through Gradio's servers")
    options.add_argument("--checkpoint", help="the weights to run on; left out: the best that is installed")
    options.add_argument(
        "--replicas",
        metavar="N",
        help="so many jobs at once, each on a device of its own; 2-8: at least 2, up to 8 as jobs wait (docs/scale.md)",
    )
    options.add_argument("--cluster", metavar="ADDRESS", help="the Ray cluster whose machines the replicas run on")
    cli.add_machine_flags(options)
    return options


def open_to_strangers(options: argparse.Namespace) -> bool:
    """Whether others than whoever sits at this machine reach the page: their songs and files are not its owner's."""
    try:
        here = ipaddress.ip_address(options.host).is_loopback
    except ValueError:
        here = options.host == "localhost"
    return HOSTED or options.share or not here


def settings_of(options: argparse.Namespace) -> Settings:
    """How the studio starts; strangers open no adapters but presets and uploads.

    Raises RequestError for a number of replicas that is none.
    """
    from gradio.utils import get_upload_folder

    from backend import Settings
    from cli import main as cli
    from jobs.cluster import replicas_of

    settings = Settings(
        checkpoint=options.checkpoint,
        machine=cli.machine_of(dict(vars(options))),
        replicas=replicas_of(options.replicas, options.cluster),
    )
    homes = (Path(get_upload_folder()),) if open_to_strangers(options) else None
    return dataclasses.replace(settings, adapter_homes=homes)


def serve(options: argparse.Namespace) -> int:
    """The exit code, once the server is stopped."""
    # Here and not above: a one-shot job has no page, and Gradio takes seconds to import.
    from ui.gradio_start import import_gradio, without_collecting, without_server

    with without_collecting():
        import_gradio()
        import theme
        from backend import Studio
        from ui import page

        studio = Studio(settings_of(options))
        studio.recipe()  # a checkpoint of an unknown name is said here, not by the first job
        with without_server():
            blocks = page.build(studio, hosted=open_to_strangers(options))
        studio.prepare()
        studio.library.empty_trash()
    try:
        blocks.launch(
            server_name=options.host,
            server_port=options.port,
            share=options.share,
            allowed_paths=[str(studio.library.root.absolute())],
            blocked_paths=[str(path.absolute()) for path in studio.library.private],
            max_file_size=MAX_UPLOAD,
            state_session_capacity=page.SESSIONS_KEPT,
            theme=theme.studio_theme(),
            css_paths=list(page.STYLES),
            head=page.head(),
            footer_links=["api"],
            run_history=False,
            enable_monitoring=False,
            ssr_mode=False,
            app_kwargs=dict(blocks.serving),
        )
    finally:
        studio.close()
    return 0


def main(argv: Sequence[str]) -> int:
    """The exit code of the server or of a one-shot job."""
    if argv and not argv[0].startswith("-"):
        from cli import main as cli

        return cli.main(argv)
    from core.errors import StudioError

    options = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # one line for every request that Gradio sends itself
    try:
        return serve(options)
    except StudioError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except OSError as error:
        sys.stderr.write(f"The page cannot be served on {options.host}:{options.port}: {error}\nTry another --port.\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

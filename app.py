"""The composition root: reads the environment and the command line, builds the studio and its page, and serves it.

A first word that is no option belongs to the command line's one-shot jobs (see cli/).
"""

from __future__ import annotations

import argparse
import ipaddress
import logging
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import StudioError

if TYPE_CHECKING:
    from backend import Settings, Studio
    from ui.mcp import Assistants
    from ui.widgets import Blocks

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

THREADS = 40
"""Threads for what is no job, as Gradio has them."""

CLEAN_STOP_S = 3.0
"""So long a stop waits for the running step to end and for what is finished to be saved."""

Lifespan = Callable[[Any], AbstractAsyncContextManager[None]]
"""What a server does from its begin to its end."""

log = logging.getLogger(__name__)


def parser() -> argparse.ArgumentParser:
    """The options of the server."""
    from cli import main as cli
    from cli import server
    from jobs.replica import LONGEST_LINE

    options = argparse.ArgumentParser(
        prog="studio",
        description="Serve the studio's page.",
        epilog="One-shot jobs: studio generate | cover | extend | edit | lyrics | plan | draft | enhance | understand, "
        "each with --help; a list of them: studio batch.",
    )
    unset = {
        "port": server.PORT,
        "host": "0.0.0.0" if HOSTED else "127.0.0.1",
        "max_queue": LONGEST_LINE,
        "max_upload": server.MAX_UPLOAD,
    }
    server.add_flags(options, unset, os.environ)
    cli.add_machine_flags(options)
    return options


def open_to_strangers(options: argparse.Namespace) -> bool:
    """Whether others than whoever sits at this machine reach the page: their songs and files are not its owner's."""
    from cli.server import LOG_INS

    try:
        here = ipaddress.ip_address(options.host).is_loopback
    except ValueError:
        here = options.host == "localhost"
    return HOSTED or options.share or not here or bool(options.auth or os.environ.get(LOG_INS))


def settings_of(options: argparse.Namespace) -> Settings:
    """How the studio starts; strangers open no adapters but presets and uploads.

    Raises RequestError for a number of replicas that is none.
    """
    from gradio.utils import get_upload_folder

    from backend import Settings
    from cli import main as cli
    from cli.server import STRANGERS_JOBS
    from jobs.cluster import replicas_of

    is_open = open_to_strangers(options)
    return Settings(
        checkpoint=options.checkpoint,
        machine=cli.machine_of(dict(vars(options))),
        replicas=replicas_of(options.replicas, options.cluster),
        adapter_homes=(Path(get_upload_folder()),) if is_open else None,
        max_queue=options.max_queue,
        max_jobs_per_session=options.max_jobs_per_session or (STRANGERS_JOBS if is_open else None),
        max_duration_s=options.max_duration_s,
    )


def serve(options: argparse.Namespace) -> int:
    """The exit code, once the server is stopped."""
    # Here and not above: a one-shot job has no page, and Gradio takes seconds to import.
    from ui.gradio_start import import_gradio, without_collecting, without_server

    with without_collecting():
        import_gradio()
        from backend import Studio
        from cli.server import users_of
        from library.repair import repair
        from ui import page
        from ui.hosts import guarding, hosts_of

        assistants = _assistants(options) if options.mcp else None
        users = users_of(options.auth, os.environ)
        hosts = hosts_of(
            options.host,
            allowed=options.allow_host or (),
            space=os.environ.get("SPACE_HOST", ""),
            share=options.share,
        )
        studio = Studio(settings_of(options))
        studio.recipe()  # a checkpoint of an unknown name is said here, not by the first job
        with without_server():
            blocks = page.build(studio, hosted=open_to_strangers(options))
        begun = [guarding(hosts)]
        if assistants is not None:
            beside = assistants(studio, hosted=open_to_strangers(options))
            blocks.serving["middleware"].append((beside.before, (), {}))
            begun.append(beside.serving)
        studio.prepare()
        repaired = repair(studio.library)
        studio.library.empty_trash()
    if repaired:
        log.info("%s", repaired)
    stop = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: stop.set())
    try:
        _launch(blocks, studio, options, users, _together(*begun))
        while not stop.wait(3600):
            pass
    finally:
        ended = _stopped(studio)
    log.info("stopped%s", "" if ended else "; a step that takes longer was cut off")
    # Browsers hold their streams of events open for as long as they are let, and a thread that is in the middle of a
    # step would be torn out of its library: whatever was worth keeping is kept by now.
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)


def _launch(
    blocks: Blocks, studio: Studio, options: argparse.Namespace, users: Mapping[str, str] | None, lifespan: Lifespan
) -> None:
    """Serve the page in threads of its own."""
    import theme
    from ui import page

    blocks.launch(
        server_name=options.host,
        server_port=options.port,
        share=options.share,
        allowed_paths=[str(studio.library.root.absolute())],
        blocked_paths=[str(path.absolute()) for path in studio.library.private],
        max_file_size=options.max_upload,
        max_threads=THREADS + options.max_queue,
        auth=list(users.items()) if users else None,
        prevent_thread_lock=True,
        state_session_capacity=page.SESSIONS_KEPT,
        theme=theme.studio_theme(),
        css_paths=list(page.STYLES),
        head=page.head(),
        footer_links=["api"],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        app_kwargs={**blocks.serving, "lifespan": lifespan},
    )


def _assistants(options: argparse.Namespace) -> type[Assistants]:
    """What lets assistants use the studio. Raises StudioError where they cannot."""
    from cli.server import LOG_INS

    if options.auth or os.environ.get(LOG_INS):
        raise StudioError("Assistants cannot log in.", "Leave --mcp or --auth out.")
    try:
        from ui.mcp import Assistants
    except ImportError as missing:
        hint = "Install it: .venv/bin/python -m pip install '.[mcp]'"
        raise StudioError("--mcp needs the package mcp, which is not installed.", hint) from missing
    return Assistants


def _together(*begun: Lifespan) -> Lifespan:
    """What a server does when it begins, one after the other."""

    @asynccontextmanager
    async def lifespan(server: Any) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for each in begun:
                await stack.enter_async_context(each(server))
            yield

    return lifespan


def _stopped(studio: Studio) -> bool:
    """Whether what ran has ended within its step, and what is finished is saved: no longer is waited."""
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)  # who asks again would cut short what is being saved
    closing = threading.Thread(target=studio.close, daemon=True)
    closing.start()
    closing.join(CLEAN_STOP_S)
    return not closing.is_alive()


def main(argv: Sequence[str]) -> int:
    """The exit code of the server or of a one-shot job."""
    if argv and not argv[0].startswith("-"):
        from cli import main as cli

        return cli.main(argv)
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

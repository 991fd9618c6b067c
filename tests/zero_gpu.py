"""A Space on ZeroGPU without a GPU: the real `spaces` package, and a server in the place of the one that leases.

Run as a program it starts app.py so; what needs a card is left away. `Broker` is the other end of its wire.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

GPU = {"idle": True, "nvidiaIndex": 0, "nvidiaUUID": "gpu", "allowToken": "token"}
QUOTA = {"left": 5, "wait": "PT3H"}


class Broker:
    """Grants leases, refuses them, and ends them, as the server does that ZeroGPU asks.

    `asked` are the seconds of each lease that was asked for, `tokens` who asked, `holder` the process that holds the
    GPU. `refuses` answers with a used-up quota; `ends` kills so many processes as soon as they hold the GPU.
    """

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.tokens: list[str | None] = []
        self.holders: list[int] = []
        self.released = 0
        self.refuses = False
        self.ends = 0
        self.url = ""

    def answer(self, path: str, query: dict[str, str]) -> tuple[int, object]:
        """The status and the body that answer a request."""
        if path == "/schedule":
            self.asked.append(int(query["durationSeconds"]))
            self.tokens.append(query.get("token"))
            return (429, QUOTA) if self.refuses else (200, GPU)
        if path == "/allow":
            self.holders.append(int(query["pid"]))
            if self.ends:
                self.ends -= 1
                threading.Timer(0.2, self.end).start()
        if path == "/release":
            self.released += 1
            return 404 if query["fail"] == "true" else 200, {}
        return 200, {}

    def end(self) -> None:
        """What the end of a lease does to the process that holds the GPU."""
        os.kill(self.holders[-1], signal.SIGKILL)


@contextmanager
def broker() -> Iterator[Broker]:
    """A broker that can be asked at its `url`."""
    made = Broker()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = urlsplit(self.path)
            status, body = made.answer(asked.path, {name: each[0] for name, each in parse_qs(asked.query).items()})
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Keep the requests out of the tests' output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    made.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()


def without_card() -> None:
    """Import `spaces` on a machine whose torch has no CUDA, and leave away what it does on the card itself."""
    import torch

    torch.version.cuda = "12.8"
    torch._C._cuda_init = torch.cuda._is_in_bad_fork = bool  # type: ignore[assignment]  # picklable, does nothing
    import spaces  # noqa: F401
    from spaces.zero import torch as patched

    patched.init = patched.move = patched.unpatch = lambda *_, **__: None


if __name__ == "__main__":
    import runpy
    import sys
    from pathlib import Path

    without_card()
    sys.argv[0] = str(Path(__file__).parent.parent / "app.py")
    runpy.run_path(sys.argv[0], run_name="__main__")

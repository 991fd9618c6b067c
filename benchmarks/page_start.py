"""How soon the page is there: `python benchmarks/page_start.py`.

Gradio's import, as it is and without its type stubs, in turn, in processes of their own: the processor's seconds, and
the ratio of the fastest of each. Then `python app.py`, several times: seconds until the port answers, and until the
Generate button is visible in a browser that is open already but has never seen the page; and the seconds of a processor
that the browser takes until the page is at rest.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from playwright.sync_api import Browser, sync_playwright

from tests.browser.chromium import find_chromium

ROOT = Path(__file__).parent.parent
TIMED = "import time; t = time.process_time(); {work}; print(time.process_time() - t)"
IMPORTS = {"as it is": "import gradio", "without stubs": "from ui.gradio_start import import_gradio; import_gradio()"}


def import_seconds(work: str) -> float:
    """The processor's seconds that an import takes in a fresh process."""
    command = [sys.executable, "-c", TIMED.format(work=work)]
    return float(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


REST_MS = 2000


def start_seconds(browser: Browser) -> tuple[float, float, float]:
    """Seconds from the start of the studio to an answer of its port and to a visible page; a processor's for it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    page = browser.new_context().new_page()
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "ACE_OUTPUTS_DIR": home, "GRADIO_TEMP_DIR": home}
        started = time.monotonic()
        command = [sys.executable, str(ROOT / "app.py"), "--port", str(port)]
        quiet = subprocess.DEVNULL
        with subprocess.Popen(command, cwd=home, env=environment, stdout=quiet, stderr=quiet) as studio:
            while not _listens(port):
                time.sleep(0.02)
            up = time.monotonic() - started
            page.goto(f"http://127.0.0.1:{port}")
            page.locator("#dock .run:visible").wait_for()
            visible = time.monotonic() - started
            page.wait_for_timeout(REST_MS)
            facts = page.context.new_cdp_session(page)
            facts.send("Performance.enable")
            taken = {each["name"]: each["value"] for each in facts.send("Performance.getMetrics")["metrics"]}
            studio.terminate()
    page.context.close()
    return up, visible, taken["ProcessTime"]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    taken: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for _ in range(rounds):
        for name, work in IMPORTS.items():
            taken[name].append(import_seconds(work))
    usual, quick = (min(times) for times in taken.values())
    sys.stdout.write(f"import gradio: {usual:.2f} s, {quick:.2f} s without type stubs: {usual / quick:.2f} times\n")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox", "--disable-gpu"])
        runs = [start_seconds(browser) for _ in range(rounds)]
        browser.close()
    for name, times in zip(
        ("port answers", "page visible", "browser's processor"), zip(*runs, strict=True), strict=True
    ):
        sys.stdout.write(f"{name}: {' '.join(f'{t:.2f}' for t in times)} s, median {statistics.median(times):.2f} s\n")


if __name__ == "__main__":
    main()

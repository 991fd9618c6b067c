"""The Chromium that the browser tests drive: `python -m tests.browser.chromium` prints its path, or fails."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
"""The best first: one without windows shows the page with a fifth less work."""
MAC_APPS = ("Google Chrome", "Chromium")


def find_chromium() -> Path | None:
    """The browser's program: STUDIO_CHROMIUM where it is set, else the first installed one; `None` without any."""
    named = os.environ.get("STUDIO_CHROMIUM")
    candidates = [named] if named else [shutil.which(name) for name in NAMES]
    if not named and sys.platform == "darwin":
        candidates += [f"/Applications/{app}.app/Contents/MacOS/{app}" for app in MAC_APPS]
    return next((Path(found) for found in candidates if found and Path(found).is_file()), None)


def main() -> int:
    """0 and the path on standard output, 1 and nothing where no browser is installed."""
    found = find_chromium()
    if found:
        sys.stdout.write(f"{found}\n")
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())

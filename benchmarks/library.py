"""How fast a large library is listed and searched: `python benchmarks/library.py`.

Songs as files in a temporary folder, of which only the sidecars count. First the index is made, then each question is
asked several times; the median is told. `--songs` sets how many.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from library.index import Query
from library.storage import usage
from library.tracks import Library
from tests.shelves import fill

ROUNDS = 7


def seconds(ask: Callable[[], object]) -> float:
    """How long one answer takes."""
    started = time.perf_counter()
    ask()
    return time.perf_counter() - started


def questions(library: Library) -> dict[str, Callable[[], object]]:
    """What is asked, by what the table calls it."""
    some = library.newest(1)[0]
    return {
        "every track": library.list,
        "the newest 40": lambda: library.newest(40),
        "the first page of the Library": lambda: library.search(Query()),
        "search: one word": lambda: library.search(Query(words="uberdruss")),
        "search: two words and a favourite": lambda: library.search(Query(words="window polka", favourite=True)),
        "search: nothing found": lambda: library.search(Query(words="xylophone")),
        "the takes of a request": lambda: library.find(some.key),
        "the song with this sound": lambda: library.find_audio(some.sha256),
        "bytes used": lambda: usage(library),
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=10_000)
    songs = parser.parse_args().songs
    with tempfile.TemporaryDirectory() as home:
        library = fill(Path(home) / "outputs", songs)
        sys.stdout.write(f"{songs} songs\n\n| question | median | slowest |\n|---|---|---|\n")
        sys.stdout.write(f"| the index made anew | {seconds(lambda: library.newest(1)):.2f} s | |\n")
        time.sleep(0.1)  # what was written just now is read once more
        library.newest(1)
        for name, ask in questions(library).items():
            taken = [1000 * seconds(ask) for _ in range(ROUNDS)]
            sys.stdout.write(f"| {name} | {statistics.median(taken):.0f} ms | {max(taken):.0f} ms |\n")


if __name__ == "__main__":
    main()

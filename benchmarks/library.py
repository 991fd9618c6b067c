"""How fast a large library is listed and searched: `python benchmarks/library.py`.

Songs as files in a temporary folder, of which only the sidecars count. First the index is made, then each question is
asked several times; the medians are told: the processor's time, and that of the clock, which counts other work too.
`--songs` sets how many.
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

from library.index import NAME, Query
from library.storage import usage
from library.tracks import Library
from tests.shelves import fill

ROUNDS = 7


def taken(ask: Callable[[], object], rounds: int = 1) -> str:
    """How long an answer takes, in cells of the table."""
    times: list[tuple[float, float]] = []
    for _ in range(rounds):
        work, clock = time.process_time(), time.perf_counter()
        ask()
        times.append((time.process_time() - work, time.perf_counter() - clock))
    work, clock = (1000 * statistics.median(each) for each in zip(*times, strict=True))
    return f"{work:,.0f} ms | {clock:,.0f} ms"


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
        (library.root / NAME).unlink()
        sys.stdout.write(f"{songs:,} songs\n\n| question | processor | clock |\n|---|---|---|\n")
        sys.stdout.write(f"| the index made anew | {taken(lambda: library.newest(1))} |\n")
        for name, ask in questions(library).items():
            ask()  # what was written just now is read once more
            sys.stdout.write(f"| {name} | {taken(ask, ROUNDS)} |\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()

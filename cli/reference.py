"""What the documents take from the tables: `.venv/bin/python -m cli.reference` brings them up to date.

docs/knobs.md is written whole, of docs/apple.md the table of memory, of docs/checkpoints.md that of cards, of
docs/actions.md those of the actions and of the formats, of docs/server.md that of its options.
"""

from __future__ import annotations

from pathlib import Path

import tooltips
from core.actions import ACTIONS
from core.drafts import DRAFTS
from core.knobs import Knob, knobs_of
from core.params import MODES
from core.paths import DOCS
from core.tables import GROUPS

PAGE = DOCS / "knobs.md"

APPLE = DOCS / "apple.md"
MEMORY = ("<!-- memory: written by `.venv/bin/python -m cli.reference` -->\n", "<!-- end of memory -->")
"""Around the table of memory."""

CHECKPOINTS = DOCS / "checkpoints.md"
TIERS = ("<!-- tiers: written by `.venv/bin/python -m cli.reference` -->\n", "<!-- end of tiers -->")
"""Around the table of cards."""

DONE = DOCS / "actions.md"
TABLES = ("<!-- actions: written by `.venv/bin/python -m cli.reference` -->\n", "<!-- end of actions -->")
"""Around the tables of actions and formats."""

SERVER = DOCS / "server.md"
OPTIONS = ("<!-- options: written by `.venv/bin/python -m cli.reference` -->\n", "<!-- end of options -->")
"""Around the table of the server's options."""

HEADER = """# The knobs

Written from core/ and tooltips.py by `.venv/bin/python -m cli.reference`; a test fails when this page is stale.
"auto" means that the planner, the checkpoint's recipe or the dice choose.
"""


def page() -> str:
    """The whole page as Markdown: one table for each mode, each draft and each action."""
    modes = (_section(mode, tooltips.MODES[mode], request) for mode, request in MODES.items())
    drafts = (_section(kind, tooltips.DRAFTS[kind], request) for kind, request in DRAFTS.items())
    actions = (_section(name, tooltips.ACTIONS[name], request) for name, request in ACTIONS.items())
    return "\n".join([HEADER, *modes, *drafts, *actions])


def _section(name: str, words: tuple[str, str], request: type) -> str:
    title, sentence = words
    rows = [_row(name, knob) for knob in knobs_of(request)]
    table = ["| knob | default | range | what it does |", "|---|---|---|---|", *rows]
    return "\n".join([f"## {title}", "", f"{sentence}.", "", *table, ""])


def _row(owner: str, knob: Knob) -> str:
    _, sentence = tooltips.of(owner, knob.name)
    fold = GROUPS[knob.group].partition(" · ")[0]
    where = f" *({fold})*" if fold else ""
    return f"| `{knob.name}`{where} | {_default(knob)} | {_range(knob)} | {sentence} |"


def _default(knob: Knob) -> str:
    if knob.default is None:
        return "auto" if knob.kind != "audio" else "none"
    if knob.kind == "text" and not knob.default:
        return "empty"
    return str(knob.default).lower() if knob.kind == "flag" else str(knob.default)


def _range(knob: Knob) -> str:
    shown = knob.rule.removeprefix("must be ").removesuffix(", or empty to let the studio choose")
    return shown if len(knob.choices) <= 12 else f"one of {len(knob.choices)}: {', '.join(knob.choices[:6])} ..."


def apple_page() -> str:
    """docs/apple.md with a fresh table of memory."""
    from networks.acestep.published import memory_table

    return _renewed(APPLE, MEMORY, memory_table())


def checkpoints_page() -> str:
    """docs/checkpoints.md with a fresh table of cards."""
    from jobs.tiers import tiers_table

    return _renewed(CHECKPOINTS, TIERS, tiers_table())


def actions_page() -> str:
    """docs/actions.md with fresh tables of what can be done and of the formats."""
    from library.exports import FORMATS

    rows = ["| action | what comes of it | its knobs |", "|---|---|---|"]
    for name, request in ACTIONS.items():
        own = [f"`{knob.name}` {_default(knob)}, {_range(knob)}" for knob in knobs_of(request) if knob.group != "main"]
        rows.append(f"| `{name}` | {tooltips.ACTIONS[name][1]} | {'; '.join(own) or 'none'} |")
    rows += ["", "| format | what it is |", "|---|---|"]
    rows += [f"| `{name}` | {each.title}. {each.note} |" for name, each in FORMATS.items()]
    return _renewed(DONE, TABLES, "\n".join(rows))


def server_page() -> str:
    """docs/server.md with a fresh table of options."""
    from cli.server import table

    return _renewed(SERVER, OPTIONS, table())


def _renewed(page: Path, marks: tuple[str, str], table: str) -> str:
    """The page with the table between its marks."""
    before, _, rest = page.read_text(encoding="utf-8").partition(marks[0])
    _, _, after = rest.partition(marks[1])
    return f"{before}{marks[0]}\n{table}\n{marks[1]}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    APPLE.write_text(apple_page(), encoding="utf-8")
    CHECKPOINTS.write_text(checkpoints_page(), encoding="utf-8")
    DONE.write_text(actions_page(), encoding="utf-8")
    SERVER.write_text(server_page(), encoding="utf-8")

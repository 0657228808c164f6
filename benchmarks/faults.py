"""Break the store, the worker and the machine, again and again, and count what was lost.

    .venv/bin/python benchmarks/faults.py [--kills 1000] [--quick] [--write docs/explanation/faults.md]

Everything is real: processes that are killed, files that are locked, disks that are full, servers that crash. Exits with 1 when something was lost.
"""

from __future__ import annotations

import argparse
import logging
import secrets
import sys
import tempfile
from pathlib import Path
from time import monotonic

from harness import Machine, fsync_ms
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))  # what the tests of faults use, too

from faults_postgres import SECTIONS as ON_POSTGRES  # noqa: E402  # needs the path
from faults_sections import SECTIONS as ON_SQLITE  # noqa: E402  # needs the path
from faults_sections import Plan, Section, Tick, run  # noqa: E402  # needs the path

SECTIONS = (*ON_SQLITE, *ON_POSTGRES)

BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
"""Between these the page is written anew."""


def main() -> int:
    """The command."""
    options = _options()
    logging.disable(logging.CRITICAL)  # what is logged on purpose here would drown the tables
    plan = Plan(50 if options.quick else options.kills, options.seed, options.quick)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    machine = Machine.here()
    place = Path(tempfile.gettempdir())
    about = (
        f"{machine.cores} cores ({machine.cpu}), {machine.system}, {machine.python}, SQLite {machine.sqlite},"
        f" load {machine.load} at the start, fsync of 4 KiB {fsync_ms(place)[0]} ms, seed {plan.seed}"
    )
    console.print(about)
    found: list[Section] = []
    with tempfile.TemporaryDirectory(prefix="lastword-faults-", dir=place) as folder:
        for section in SECTIONS:
            if options.only and section.__name__ not in options.only:
                continue
            with _shown(console, section.__name__, plan) as tick:
                table, seconds = run(section, Path(folder), plan, tick)
            found.append(table)
            _print(console, table, seconds)
    if options.write:
        _write(options.write, found, about, options)
    wrong = [line for table in found for line in table.wrong]
    for line in wrong:
        console.print(f"NOT AS PROMISED: {line}", markup=False)
    return 1 if wrong else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=1000, help="SIGKILLs (default: %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=secrets.randbelow(2**31), help="for the moments of the kills"
    )
    parser.add_argument(
        "--quick", action="store_true", help="short outages, 50 kills: a minute in all"
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=[section.__name__ for section in SECTIONS],
        help="this part alone; may be repeated",
    )
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables into this page")
    return parser.parse_args()


class _shown:  # noqa: N801  # used as a function
    """Progress on a terminal; elsewhere a line now and then."""

    def __init__(self, console: Console, name: str, plan: Plan) -> None:
        self._console, self._name = console, name
        sweeps = 500 if plan.quick else 10_000
        self._total = {
            "crashes": plan.kills,
            "sweeps": sweeps,
            "finishes": 6,
            "whole": 2,
            "deaths": 6,
            "servers": 5,
            "followers": 1,
            "partitions": 1,
        }.get(name, 2)
        self._said = monotonic()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self._bar = (
            Progress(*columns, console=console, transient=True) if console.is_terminal else None
        )

    def __enter__(self) -> Tick:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task(self._name, total=self._total)
        else:
            self._console.print(f"{self._name} ...")
        return self._tick

    def _tick(self, done: int) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=done)
        elif monotonic() - self._said > 10:
            self._said = monotonic()
            self._console.print(f"{self._name}: {done:,} of {self._total:,}")

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()


def _print(console: Console, section: Section, seconds: float) -> None:
    table = Table(
        title=f"{section.title} ({seconds:.0f} s)",
        title_justify="left",
        caption=section.note,
        caption_justify="left",
    )
    for number, column in enumerate(section.head):
        table.add_column(column, overflow="fold", min_width=16 if number == 0 else None)
    for row in section.rows:
        table.add_row(*row)
    console.print(table)


def _write(page: Path, found: list[Section], about: str, options: argparse.Namespace) -> None:
    """Put the tables into the page; those of parts that were not run stay as they are."""
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    figures, _, after = rest.partition(END)
    sections = {part.partition("\n")[0]: part.strip() for part in figures.split("\n### ")[1:]}
    for section in found:
        command = "python benchmarks/faults.py" + (
            " --quick" if options.quick else f" --kills {options.kills}"
        )
        command += "".join(f" --only {name}" for name in options.only or ())
        lines = [_line(section.head), _line(["---"] * len(section.head)), *map(_line, section.rows)]
        written = (
            f"Written by `{command} --seed {options.seed} --write {page.as_posix()}` on {about}."
        )
        parts = (section.title, "\n".join(lines), section.note, written)
        sections[section.title] = "\n\n".join(part for part in parts if part)
    figures = "".join(f"### {part}\n\n" for part in sections.values())
    page.write_text(f"{before}{BEGIN}\n\n{figures}{END}{after}", encoding="utf-8")


def _line(cells: tuple[str, ...] | list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    sys.exit(main())

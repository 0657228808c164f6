"""Every figure of the project side by side with its floor: ``make bench``.

    make bench                                       all sections
    make bench ARGS="lifecycle reads"                these
    make bench ARGS="--json figures.json --pictures docs/benchmarks"
    make bench ARGS=--peers                          MLflow and DBOS, too: installs them into an environment of their own
    make bench ARGS=--smoke                          a few seconds; fails only where something is grossly slow

Read the ratios: they come from rounds that are taken in turns on one machine. Rates move with the machine and its load.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import Machine, fsync_ms
from peers import environment
from pictures import draw
from report import Options, Section, Table, as_json, show
from rich.console import Console

MODULES = (
    "lifecycle",
    "contention",
    "signals",
    "imports",
    "write_path",
    "opening",
    "reads",
    "bulk",
    "web",
    "growth",
    "postgres",
)
"""Where the sections are, in the order in which they run. Each has a `SECTION`."""


def main() -> int:
    """The command. 1 when a smoke run found something grossly slow."""
    sections = {module: _section(module) for module in MODULES}
    asked = _options(sections)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)
    machine = Machine.here()
    _show_machine(console, machine)
    report: dict[str, Any] = {"machine": machine.as_json(), "smoke": asked.smoke, "sections": {}}
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="lastword-bench-", dir=asked.folder) as name:
        shared = Path(name)
        median, slow = fsync_ms(shared)
        report["fsync_ms"] = {"median": median, "p90": slow}
        console.print(f"fsync of 4 KiB: {median:g} ms, one in ten {slow:g} ms or more")
        peers = None if asked.peers is None else environment(asked.peers, shared, console.print)
        options = Options(smoke=asked.smoke, cache=shared, peers=peers, runs=asked.runs)
        for section in [sections[name] for name in asked.sections or MODULES]:
            began = time.perf_counter()
            with tempfile.TemporaryDirectory(dir=shared) as own:
                tables = section.measure(replace(options, folder=Path(own)))
            spent = time.perf_counter() - began
            report["sections"][section.name] = {
                "seconds": round(spent, 1),
                "tables": [as_json(table) for table in tables],
            }
            for table in tables:
                show(console, table)
                if asked.pictures:
                    draw(table, asked.pictures / f"{table.name}.svg")
            console.print(f"[dim]({section.name}: {spent:.0f} s)[/dim]")
            wrong += _grossly_missed(tables)
    if asked.json:
        asked.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if asked.smoke:
        for line in wrong:
            console.print(f"GROSSLY MISSED: {line}", markup=False)
    return 1 if asked.smoke and wrong else 0


def _section(module: str) -> Section:
    return importlib.import_module(module).SECTION


def _options(sections: dict[str, Section]) -> argparse.Namespace:
    told = "\n".join(
        f"  {section.name:<12} {section.about} (about {section.seconds} s)"
        for section in sections.values()
    )
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=f"sections:\n{told}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sections", nargs="*", help="which of them (default: all)")
    parser.add_argument(
        "--runs", type=int, help="in the largest store (default: 1,000,000; smoke: 1,000)"
    )
    parser.add_argument("--folder", type=Path, help="where to write; default: a temporary folder")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    parser.add_argument("--pictures", type=Path, help="draw each table into this folder")
    parser.add_argument(
        "--peers",
        nargs="?",
        const="",
        metavar="FOLDER",
        help="measure MLflow and DBOS, too; their environment is made in this folder, or in a temporary one",
    )
    parser.add_argument(
        "--smoke", action="store_true", help="a few seconds; only gross ratios count"
    )
    asked = parser.parse_args()
    unknown = [name for name in asked.sections if name not in sections]
    if unknown:
        parser.error(
            f"sections: expected some of {', '.join(sections)}, found {', '.join(unknown)}"
        )
    asked.runs = asked.runs or (1_000 if asked.smoke else 1_000_000)
    return asked


def _grossly_missed(tables: Sequence[Table]) -> list[str]:
    return [
        f"{target.what}: expected {target.sense} {target.gross:g}, found {target.found}"
        for table in tables
        for target in table.targets
        if target.grossly_missed
    ]


def _show_machine(console: Console, machine: Machine) -> None:
    console.print(f"{machine.cpu}, {machine.cores} cores, load {machine.load}; {machine.system}")
    versions = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    console.print(f"{machine.python}, SQLite {machine.sqlite}, {versions}")


if __name__ == "__main__":
    sys.exit(main())

"""Lifecycles per second beside the same work on the bare driver: ``make bench``.

A lifecycle is create -> start -> complete, each step a durable commit of its own, in one thread. Everything runs side by side, in
short rounds that are taken in turns; read the ratios, not the rates.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from contenders import ALL, Floor, Lastword
from harness import Machine, Series, fsync_ms, interleaved
from imports import OWN, import_shares, list_cold_ms, measure_imports
from rich.console import Console
from rich.table import Table

from lastword import RunTracker

MEMORY = Path("/dev/shm")
"""Where files live in memory, on Linux."""


def main() -> int:
    """The command."""
    options = _options()
    if options.smoke:
        options.rounds, options.seconds, options.imports = 6, 0.04, 2
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    machine = Machine.here()
    _print_machine(console, machine)
    places = {"disk": Path(options.folder or tempfile.gettempdir())}
    if MEMORY.is_dir() and options.folder is None:
        places["memory"] = MEMORY
    report: dict[str, Any] = {"machine": machine.as_json(), "lifecycles": {}}
    for name, folder in places.items():
        with tempfile.TemporaryDirectory(prefix="lastword-bench-", dir=folder) as fresh:
            found = _lifecycles(Path(fresh), options.rounds, options.seconds)
            report["lifecycles"][name] = found
            _print_lifecycles(console, name, found)
            if name == "disk":
                report["list_cold_ms"] = list_cold_ms(Path(fresh) / "lastword.db", options.imports)
    report["imports"] = measure_imports(options.imports)
    report["import_shares_ms"] = import_shares(1 if options.smoke else 3)
    _print_imports(console, report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60, help="rounds (default: %(default)s)")
    parser.add_argument(
        "--seconds",
        type=float,
        default=0.1,
        help="of each contender a round (default: %(default)s)",
    )
    parser.add_argument(
        "--imports", type=int, default=15, help="fresh processes per import (default: %(default)s)"
    )
    parser.add_argument("--folder", type=Path, help="where to write; default: temporary folders")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    parser.add_argument(
        "--smoke", action="store_true", help="a few seconds; only gross ratios count"
    )
    return parser.parse_args()


def _lifecycles(folder: Path, rounds: int, seconds: float) -> dict[str, Any]:
    cost = fsync_ms(folder)
    series = interleaved([make(folder) for make in ALL], rounds=rounds, seconds=seconds)
    floor = series[0]
    _check(folder, series)
    return {
        "fsync_ms": {"median": cost[0], "p90": cost[1]},
        "rounds": rounds,
        "seconds": seconds,
        "contenders": [one.summary(floor) for one in series],
    }


def _check(folder: Path, series: list[Series]) -> None:
    """The floor and Lastword wrote the same: Lastword itself finds every run whole, in both files."""
    for make, found in zip(ALL, series, strict=True):
        if make in {Floor, Lastword}:
            path = folder / ("floor.db" if make is Floor else "lastword.db")
            with RunTracker(path) as tracker:
                answer = tracker.verify()
                if not answer.ok or tracker.counts()["completed"] < found.lifecycles:  # pyright: ignore[reportArgumentType]  # RunStatus is a str
                    raise SystemExit(f"{make.name}: {answer}")


def _print_machine(console: Console, machine: Machine) -> None:
    console.print(f"{machine.cpu}, {machine.cores} cores, load {machine.load}; {machine.system}")
    versions = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    console.print(f"{machine.python}, SQLite {machine.sqlite}, {versions}")


def _print_lifecycles(console: Console, place: str, found: dict[str, Any]) -> None:
    cost = found["fsync_ms"]
    table = Table(
        title=f"\nLifecycles, one thread, files on {place}: fsync of 4 KiB {cost['median']:g} ms, one in ten"
        f" {cost['p90']:g} ms or more; {found['rounds']} rounds of {found['seconds']:g} s",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("")
    for heading in ("per second", "of the floor", "quartiles", "CPU ms", "bytes a run"):
        table.add_column(heading, justify="right")
    for one in found["contenders"]:
        low, high = one["ratio_quartiles"]
        table.add_row(
            one["name"],
            f"{one['per_second']:,.0f}",
            f"{one['ratio']:.2f}",
            f"{low:.2f} to {high:.2f}",
            f"{one['cpu_ms']:.3f}",
            f"{one['bytes_per_run']:,}",
        )
    console.print(table)


def _print_imports(console: Console, report: dict[str, Any]) -> None:
    table = Table(title="\nImports in fresh processes", title_justify="left", title_style="bold")
    table.add_column("")
    for heading in ("wall ms", "ratio", "CPU ms", "ratio"):
        table.add_column(heading, justify="right")
    for one in report["imports"]:
        table.add_row(
            one["name"],
            f"{one['wall_ms']:,.0f}",
            f"{one['ratio']:.2f}",
            f"{one['cpu_ms']:,.0f}",
            f"{one['cpu_ratio']:.2f}",
        )
    console.print(table)
    own = next(one for one in report["imports"] if one["name"] == OWN)
    console.print(f"The third one loads: {', '.join(own['loaded'])}", soft_wrap=True)
    if own["not_wanted"]:
        console.print(f"[red]and should not load: {', '.join(own['not_wanted'])}[/red]")
    shares = ", ".join(
        f"{name} {spent:.0f}" for name, spent in list(report["import_shares_ms"].items())[:8]
    )
    console.print(f"Its ms by package (-X importtime): {shares}", soft_wrap=True)
    cold = report["list_cold_ms"]
    console.print(
        "lastword list: " + ("not installed" if cold is None else f"{cold:,.0f} ms, cold")
    )


if __name__ == "__main__":
    sys.exit(main())

"""Lifecycles per second beside the same work on the bare driver, in one thread.

A lifecycle is create -> start -> complete, each step a durable commit of its own. Everything runs side by side, in short rounds that are
taken in turns; read the ratios, not the rates.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from contenders import ALL, Floor, Lastword
from harness import Series, interleaved
from peers import contenders as peers
from report import Column, Options, Row, Section, Table, Target

from lastword import RunTracker

MEMORY = Path("/dev/shm")
"""Where files live in memory, on Linux."""

COLUMNS = (
    Column("per_second", "per second"),
    Column("ratio", "of the floor", ".2f"),
    Column("quartiles", "quartiles"),
    Column("cpu_ms", "CPU ms", ".3f"),
    Column("bytes_per_run", "bytes a run"),
)


def measure(options: Options) -> list[Table]:
    """On the disk, and where an fsync is free."""
    places = {"disk": options.folder}
    if MEMORY.is_dir():
        places["memory"] = MEMORY
    return [_measure(place, folder, options) for place, folder in places.items()]


def _measure(place: str, folder: Path, options: Options) -> Table:
    rounds, seconds = (3, 0.02) if options.smoke else (60, 0.1)
    with tempfile.TemporaryDirectory(prefix="lastword-bench-", dir=folder) as name:
        fresh = Path(name)
        others = peers(options, fresh) if place == "disk" else []
        series = interleaved(
            [*(make(fresh) for make in ALL), *others], rounds=rounds, seconds=seconds
        )
        _check(fresh, series)
    floor, own = series[0], series[1]
    table = Table(
        name=f"lifecycles-{place}",
        title=f"Lifecycles, one thread, files on {place}; {rounds} rounds of {seconds:g} s",
        columns=COLUMNS,
        rows=[_row(one, floor) for one in series],
        drawn=["per_second"],
    )
    if place == "disk":
        ratio = table.rows[1]["ratio"]
        table.targets = [
            Target("SQLite, one thread: of the floor", ratio, 0.90, gross=0.2),
            Target(
                "CPU time, of the library with a view row",
                own.cpu_ms / next(one.cpu_ms for one in series if "view row" in one.name),
                1.0,
                "at most",
                gross=2.5,
            ),
        ]
    return table


def _row(one: Series, floor: Series) -> Row:
    summary = one.summary(floor)
    low, high = summary["ratio_quartiles"]
    return summary | {"quartiles": f"{low:.2f} to {high:.2f}"}


def _check(folder: Path, series: Sequence[Series]) -> None:
    """The floor and Lastword wrote the same: Lastword itself finds every run whole, in both files."""
    for make, found in zip(ALL, series, strict=False):
        if make in {Floor, Lastword}:
            path = folder / ("floor.db" if make is Floor else "lastword.db")
            with RunTracker(path) as tracker:
                answer = tracker.verify()
                if not answer.ok or tracker.counts()["completed"] < found.lifecycles:  # pyright: ignore[reportArgumentType]  # RunStatus is a str
                    raise SystemExit(f"{make.name}: {answer}")


SECTION = Section(
    "lifecycle", "create, start, complete in one thread, beside the bare driver", measure, 75
)

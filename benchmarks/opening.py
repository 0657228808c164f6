"""Opening a store of a million runs, beside an empty one."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from report import Column, Options, Section, Table, Target
from stores import cached

from lastword import RunTracker
from lastword.infrastructure.sqlite import SQLiteStore


def measure(options: Options) -> list[Table]:
    """In turns, in this process, each time with a first answer."""
    empty = options.folder / "empty.db"
    paths = {"an empty store": empty, f"{options.runs:,} runs": cached(options.cache, options.runs)}
    rounds = 5 if options.smoke else 40
    opened: dict[str, list[float]] = {name: [] for name in paths}
    tracked: dict[str, list[float]] = {name: [] for name in paths}
    for _ in range(rounds):
        for name, path in paths.items():
            opened[name].append(_open_store(path))
            tracked[name].append(_open_tracker(path))
    table = Table(
        name="opening",
        title=f"Opening a store, {rounds} times in turns, ms",
        columns=(
            Column("store", "the store, and how many runs it has", ".2f"),
            Column("tracker", "a tracker, and its newest 50 runs", ".2f"),
        ),
        rows=[
            {
                "name": name,
                "store": statistics.median(opened[name]),
                "tracker": statistics.median(tracked[name]),
            }
            for name in paths
        ],
        drawn=("store", "tracker"),
    )
    few, many = table.rows
    table.targets = [
        Target(
            "opening, ms more than an empty store",
            many["store"] - few["store"],
            5,
            "at most",
            gross=200,
        )
    ]
    return [table]


def _open_store(path: Path) -> float:
    began = time.perf_counter()
    store = SQLiteStore(path)
    store.counts()
    spent = time.perf_counter() - began
    store.close()
    return spent * 1000


def _open_tracker(path: Path) -> float:
    began = time.perf_counter()
    tracker = RunTracker(path)
    tracker.list()
    spent = time.perf_counter() - began
    tracker.close()
    return spent * 1000


SECTION = Section("opening", "opening a store of a million runs, beside an empty one", measure, 5)

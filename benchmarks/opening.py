"""Opening a store of a million runs, beside an empty one."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from report import Column, Options, Section, Table, Target
from stores import cached

from lastword import RunTracker
from lastword.infrastructure.sqlite import SQLiteStore

T = TypeVar("T", SQLiteStore, RunTracker)


def measure(options: Options) -> list[Table]:
    """In turns, in this process, each time with a first answer."""
    empty = options.folder / "empty.db"
    paths = {"an empty store": empty, f"{options.runs:,} runs": cached(options.cache, options.runs)}
    rounds = 5 if options.smoke else 40
    opened: dict[str, list[float]] = {name: [] for name in paths}
    tracked: dict[str, list[float]] = {name: [] for name in paths}
    for _ in range(rounds):
        for name, path in paths.items():
            opened[name].append(_milliseconds(SQLiteStore, path, SQLiteStore.counts))
            tracked[name].append(_milliseconds(RunTracker, path, RunTracker.list))
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
            gross=5_000,
        )
    ]
    return [table]


def _milliseconds(opened: Callable[[Path], T], path: Path, ask: Callable[[T], object]) -> float:
    """Until it is open and has answered."""
    began = time.perf_counter()
    with closing(opened(path)) as store:
        ask(store)
        return (time.perf_counter() - began) * 1000


SECTION = Section("opening", "opening a store of a million runs, beside an empty one", measure, 5)

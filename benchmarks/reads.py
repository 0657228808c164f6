"""Questions at a million runs beside the same ones at ten thousand: how long one answer takes, and whether it grows with the store.

Each is asked of both stores in turns, in this process, after a warm-up; the figure is the median.
"""

from __future__ import annotations

import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path

from report import Column, Options, Row, Section, Table, Target
from stores import BEGIN, NAMES, OWNERS, RARE_NAME, STEP, TEAMS, UNDER_WAY, cached, uuid7

from lastword import RunReader
from lastword.domain.status import RunStatus
from lastword.infrastructure.sqlite import SQLiteStore

SMALL = 10_000
KIND = "mixed"

Question = Callable[[], object]


def questions(
    reader: RunReader, late: RunReader, path: Path, runs: int
) -> dict[str, tuple[Question, float | None]]:
    """Each with what it may take at the most, in milliseconds; None: no target. For `late` all active runs are silent."""
    ids = _turning([uuid7(number) for number in range(0, runs, max(1, runs // 500))])
    bare = sqlite3.connect(path)
    newest = reader.store.last_position()
    middle, end = BEGIN + STEP * (newest // 2), BEGIN + STEP * newest
    deep = _deep(reader, middle)
    listed = reader.list
    suffix = uuid7(runs // 3)[-10:]
    finished = RunStatus.COMPLETED

    def by_id_bare() -> object:
        return bare.execute("SELECT * FROM runs WHERE number = 3 * ? + 1", (runs // 3,)).fetchone()

    return {
        "bare sqlite3: a row by its number (the floor)": (by_id_bare, None),
        "get by id": (lambda: reader.get(next(ids)), 0.06),
        "list": (listed, 1),
        "list, deep by cursor": (lambda: listed(cursor=deep), 1),
        "list status=completed": (lambda: listed(status=finished), 1),
        "list status=failed": (lambda: listed(status="failed"), 1),
        "list status=running": (lambda: listed(status="running"), 1),
        "list name, common": (lambda: listed(name=NAMES[0]), 1),
        "list name, rare": (lambda: listed(name=RARE_NAME), 1),
        "list name, unknown": (lambda: listed(name="no such name"), 1),
        "list name + status=failed": (lambda: listed(name=NAMES[0], status="failed"), 1),
        "list name + deep by cursor": (lambda: listed(name=NAMES[0], cursor=deep), 1),
        "list tag env=prod": (lambda: listed(tags={"env": "prod"}), 1),
        "list tag env=test": (lambda: listed(tags={"env": "test"}), 1),
        "list tag, unknown": (lambda: listed(tags={"env": "moon"}), 1),
        "list two tags": (lambda: listed(tags={"env": "test", "team": TEAMS[3]}), 1),
        "list two tags, one unknown": (lambda: listed(tags={"env": "prod", "team": "x"}), 1),
        "list tag + status=failed": (lambda: listed(tags={"env": "prod"}, status="failed"), 1),
        "list tag + status=pending (none)": (
            lambda: listed(tags={"env": "prod"}, status="pending"),
            1,
        ),
        "list tag + rare name": (lambda: listed(tags={"env": "prod"}, name=RARE_NAME), 1),
        "list two tags + rare name + failed": (
            lambda: listed(tags={"env": "test", "team": TEAMS[3]}, name=RARE_NAME, status="failed"),
            1,
        ),
        "list since the middle until an hour later": (
            lambda: listed(since=middle, until=middle + timedelta(hours=1)),
            1,
        ),
        "list since the end (none)": (lambda: listed(since=end), 1),
        "list flagged, all 1,000 active are": (lambda: late.list(flagged=True), 1),
        "list flagged, none is": (lambda: listed(flagged=True), 1),
        "list not flagged": (lambda: listed(flagged=False), 1),
        "list active (50 of 1,000)": (lambda: listed(status=("pending", "running")), 1),
        "latest of a name": (lambda: reader.latest(NAMES[3]), 1),
        "counts": (reader.counts, 0.1),
        "active, all 1,000": (reader.active, None),
        "flagged, none of 1,000 active is": (reader.flagged, 1),
        "flagged, all 1,000 active are": (late.flagged, None),
        "id by its beginning": (lambda: reader.find(uuid7(runs // 2)[:20]), 1),
        "id by its end": (lambda: reader.find(suffix), None),
        "history": (lambda: reader.history(next(ids)), 1),
        "as_of": (lambda: reader.as_of(next(ids), middle), 1),
        "completions, 50 from the middle": (
            lambda: list(islice(reader.completions(newest // 2), 50)),
            None,
        ),
    }


def _turning(items: list[str]) -> Iterator[str]:
    while True:
        yield from items


def _deep(reader: RunReader, moment: datetime) -> str | None:
    """The cursor of a page in the middle of the store."""
    return reader.list(until=moment, limit=1).next_cursor


def measure(options: Options) -> list[Table]:
    """All questions, of both stores."""
    small = min(SMALL, options.runs // 2)
    rounds, seconds = (2, 0.001) if options.smoke else (11, 0.02)
    paths = {runs: cached(options.cache, runs, KIND) for runs in (small, options.runs)}
    with ExitStack() as stack:
        asked: dict[int, dict[str, tuple[Question, float | None]]] = {}
        for runs, path in paths.items():
            store = stack.enter_context(closing(SQLiteStore(path)))
            end = BEGIN + STEP * store.last_position()
            for owner in OWNERS:
                store.renew_lease(owner, end)
            reader = RunReader(store, clock=lambda end=end: end)
            late = RunReader(store, clock=lambda end=end: end + timedelta(days=1))
            asked[runs] = questions(reader, late, path, runs)
        found: dict[str, dict[int, list[float]]] = {}
        for _ in range(rounds):
            for what in asked[small]:
                for runs, by_name in asked.items():
                    spent = _milliseconds(by_name[what][0], seconds)
                    found.setdefault(what, {}).setdefault(runs, []).append(spent)
    table = Table(
        name="reads",
        title=f"Questions, median milliseconds, {min(UNDER_WAY, options.runs):,} runs active",
        columns=(
            Column("small", f"{small:,} runs", ".3f"),
            Column("large", f"{options.runs:,} runs", ".3f"),
            Column("ratio", "ratio", ".2f"),
            Column("limit", "target", ".2f"),
        ),
        drawn=("small", "large"),
        logarithmic=True,
    )
    for what, by_size in found.items():
        times = {runs: statistics.median(spent) for runs, spent in by_size.items()}
        ratio = statistics.median(
            many / few for few, many in zip(by_size[small], by_size[options.runs], strict=True)
        )
        limit = asked[small][what][1]
        row: Row = {"name": what, "small": times[small], "large": times[options.runs]}
        table.rows.append(row | {"ratio": ratio, "limit": limit})
        if limit is not None:
            table.targets.append(
                Target(f"{what}, ms", times[options.runs], limit, "at most", gross=1000 * limit)
            )
            table.targets.append(Target(f"{what}, of the small store", ratio, 1.5, "at most"))
    return [table]


def _milliseconds(ask: Question, seconds: float) -> float:
    """Of one answer: the median over so many seconds."""
    ask()
    spent: list[float] = []
    until = time.perf_counter() + seconds
    while not spent or time.perf_counter() < until:
        began = time.perf_counter()
        ask()
        spent.append((time.perf_counter() - began) * 1000)
    return statistics.median(spent)


SECTION = Section("reads", "every question, at ten thousand runs and at a million", measure, 150)

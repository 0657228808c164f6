"""How a file grows: what a run takes and where, what reports of progress add, and what happens to the journal under a long reader."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from report import Column, Options, Row, Section, Table, Target
from stores import BEGIN, cached

from lastword import RunTracker
from lastword.infrastructure.sqlite import SQLiteStore

_SHADOW = re.compile("_[0-9a-f]{12}$")
REPORTS, EVERY = 600, timedelta(milliseconds=100)
"""A run that takes a minute and reports ten times a second."""


class MovingClock:
    """Time that passes when it is told to."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


def measure(options: Options) -> list[Table]:
    """Size, progress, journal."""
    return [_size(options), _progress(options), _journal(options)]


def _size(options: Options) -> Table:
    path = cached(options.cache, options.runs)
    table = Table(
        name="size",
        title=f"Bytes a run, {options.runs:,} runs of three events (created, started, completed)",
        columns=(
            Column("bytes", "bytes a run", ",.1f"),
            Column("used", "of its pages filled", ".0%"),
        ),
        drawn=("bytes",),
    )
    with closing(sqlite3.connect(path)) as raw:
        for name, pages, unused in raw.execute(
            "SELECT name, sum(pgsize), sum(unused) FROM dbstat GROUP BY name ORDER BY 2 DESC"
        ):
            if pages / options.runs >= 1:
                table_or_index = _SHADOW.sub(
                    "", name
                )  # a rebuilt index keeps the name of its shadow
                row: Row = {
                    "name": table_or_index,
                    "bytes": pages / options.runs,
                    "used": 1 - unused / pages,
                }
                table.rows.append(row)
    whole = path.stat().st_size / options.runs
    table.rows.insert(0, {"name": "the whole file", "bytes": whole})
    table.targets = [Target("bytes a run", whole, 900, "at most", gross=2000)]
    return table


def _progress(options: Options) -> Table:
    runs = 1 if options.smoke else 20
    table = Table(
        name="progress",
        title=f"A run of a minute that reports its progress {REPORTS} times",
        columns=(Column("events", "events a run"), Column("bytes", "bytes a run")),
        drawn=("bytes",),
    )
    for name, interval, reports in (
        ("no report", 1.0, 0),
        ("stored at most once a second (as it comes)", 1.0, REPORTS),
        ("every report stored (progress_interval=0)", 0.0, REPORTS),
    ):
        path = options.folder / f"progress-{len(table.rows)}.db"
        SQLiteStore(path).close()
        empty = path.stat().st_size
        clock = MovingClock(BEGIN)
        with RunTracker(path, clock=clock, progress_interval=interval) as tracker:
            for _ in range(runs):
                run_id = tracker.create("import")
                tracker.start(run_id)
                for report in range(reports):
                    clock.now += EVERY
                    tracker.progress(run_id, report, reports, step="extract")
                tracker.complete(run_id, result={"rows": 10})
            events = tracker.store.last_position()
        grown = path.stat().st_size - empty
        table.rows.append({"name": name, "events": events / runs, "bytes": grown / runs})
    return table


def _journal(options: Options) -> Table:
    """Sizes in KiB."""
    runs = 10 if options.smoke else 3000
    path = options.folder / "journal.db"
    table = Table(
        name="journal",
        title=f"The journal (write-ahead log) while {runs:,} lifecycles are written, KiB",
        columns=(Column("journal", "journal"), Column("file", "file")),
        drawn=("journal", "file"),
    )

    def tell(what: str) -> None:
        journal = Path(f"{path}-wal")
        size = journal.stat().st_size if journal.exists() else 0
        row: Row = {"name": what, "journal": size / 1024, "file": path.stat().st_size / 1024}
        table.rows.append(row)

    with RunTracker(path) as tracker:

        def write(number: int) -> None:
            for _ in range(number):
                run_id = tracker.create("import")
                tracker.start(run_id)
                tracker.complete(run_id)

        write(runs)
        tell("nobody reads")
        with closing(sqlite3.connect(path)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM events").fetchone()
            write(runs)
            tell("somebody reads an earlier state all the time")
            tracker.store.compact(whole=False)
            tell("the same, after compact")
        write(1)
        tell("the reader is gone, one more run")
        tracker.store.compact(whole=False)
        tell("after compact")
        archived = options.folder / "archive.jsonl"
        tracker.archive(datetime.now(UTC) + timedelta(hours=1), archived)
        tell("all runs archived")
        tracker.store.compact(whole=True)
        tell("after compact of the whole file")
    tell("closed")
    return table


SECTION = Section("growth", "bytes a run, progress, the journal under a long reader", measure, 90)

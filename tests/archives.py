"""A store with runs that are old enough to be archived, for tests."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from faults.kit import MovableClock
from lastword import RunsArchived, RunTracker

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@contextmanager
def filled(path: Path, clock: MovableClock) -> Iterator[RunTracker]:
    """Six finished runs of the first day, one that still runs, and one that ended a day later."""
    with RunTracker(path, clock=clock, progress_interval=0) as tracker:
        fill(tracker, range(6))
        tracker.start(tracker.create("import", run_id="active"))
        clock.advance(days=1)
        fill(tracker, ["late"])
        yield tracker


def fill(tracker: RunTracker, run_ids: Iterable[int | str]) -> None:
    for run_id in run_ids:
        with tracker.run("import", run_id=run_id, tags={"team": "data"}) as run:
            run.progress(1, 2, message="half")


def ids(tracker: RunTracker) -> set[int | str]:
    return {view.run_id for view in tracker.list()}


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_bytes().splitlines()]


def records(tracker: RunTracker) -> list[RunsArchived]:
    return [
        item.event for item in tracker.store.store_events() if isinstance(item.event, RunsArchived)
    ]

"""Ways to alter a store behind Lastword's back, and whether each is found: by `verify` alone, and with a seal.

test_tampering.py runs all of them; `benchmarks/audit.py --tampering` prints them as a table.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lastword import Owner, RunTracker, VerifyReport

_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
_OWNER = Owner(host="worker-1", pid=4711, started_at=_BEGIN)
_RUNS = 5
_EACH = 4
"""Events of a run: created, started, progress, completed."""


@dataclass(frozen=True)
class Tampering:
    """One way, and what is known of it."""

    name: str
    what: str
    sql: tuple[str, ...]
    alone: bool
    """Whether `verify` finds it without a seal."""
    position: int
    """The first position that is not as it was sealed; 0 when the log is untouched and only `verify` itself can tell."""


@dataclass(frozen=True)
class Found:
    """What came of it."""

    alone: bool
    sealed: bool
    position: int | None
    report: VerifyReport


def _position(run: int, version: int) -> int:
    """Of an event in the store that `build` makes."""
    return (run - 1) * _EACH + version


_RECOMPUTED = (
    "UPDATE runs SET progress_current = 9 WHERE run_key = '3'",
    "UPDATE events SET state = replace(state, '\"current\":5', '\"current\":9') WHERE position = 11",
)
_COLUMNS = (
    "topic, state, event_id, occurred_at, recorded_at, actor, correlation_id, int_id, originator_id,"
    " originator_version"
)

_FORGED = f"""
INSERT INTO events (position, {_COLUMNS}) SELECT 9, topic, state, randomblob(16), occurred_at,
    recorded_at, actor, correlation_id, NULL, 'forged', 1 FROM events WHERE position = 5
"""
_APPENDED = f"""
INSERT INTO events (position, {_COLUMNS}) SELECT 21, 'OutcomeContradicted', '{{"claimed":"failed"}}',
    randomblob(16), occurred_at, recorded_at, actor, correlation_id, int_id, originator_id, 5 FROM events WHERE position = 20
"""

TAMPERINGS = (
    Tampering(
        "changed byte",
        "one letter of a progress message",
        ("UPDATE events SET state = replace(state, 'half', 'hall') WHERE position = 11",),
        alone=False,
        position=_position(3, 3),
    ),
    Tampering(
        "changed byte that matters",
        "one digit of a progress report",
        (_RECOMPUTED[1],),
        alone=True,
        position=_position(3, 3),
    ),
    Tampering(
        "changed byte and its row",
        "the same, and the run's row to match",
        _RECOMPUTED,
        alone=False,
        position=_position(3, 3),
    ),
    Tampering(
        "changed time",
        "a run began a day earlier",
        ("UPDATE events SET occurred_at = occurred_at - 86400000000 WHERE position = 10",),
        alone=True,
        position=_position(3, 2),
    ),
    Tampering(
        "changed actor",
        "somebody else asked for it",
        ("UPDATE events SET actor = 'nobody' WHERE position = 12",),
        alone=False,
        position=_position(3, 4),
    ),
    Tampering(
        "changed row",
        "a completed run is said to have failed",
        ("UPDATE runs SET status = 'failed' WHERE run_key = '3'",),
        alone=True,
        position=0,
    ),
    Tampering(
        "removed event",
        "from the middle of a run",
        ("DELETE FROM events WHERE position = 11",),
        alone=True,
        position=_position(3, 3),
    ),
    Tampering(
        "removed last event",
        "of a run in the middle of the log",
        ("DELETE FROM events WHERE position = 12",),
        alone=True,
        position=_position(3, 4),
    ),
    Tampering(
        "removed run",
        "its events and its row",
        (
            "DELETE FROM events WHERE originator_id = '3'",
            "DELETE FROM runs WHERE run_key = '3'",
        ),
        alone=False,
        position=_position(3, 1),
    ),
    Tampering(
        "inserted event",
        "a run that never was, put in place of a removed one",
        (
            "DELETE FROM events WHERE originator_id = '3'",
            "DELETE FROM runs WHERE run_key = '3'",
            _FORGED,
        ),
        alone=True,
        position=_position(3, 1),
    ),
    Tampering(
        "appended event",
        "behind the seal, to a run that is sealed",
        (_APPENDED,),
        alone=True,
        position=0,
    ),
    Tampering(
        "swapped events",
        "two events of two runs change places",
        (
            "UPDATE events SET position = -1 WHERE position = 11",
            "UPDATE events SET position = 11 WHERE position = 15",
            "UPDATE events SET position = 15 WHERE position = -1",
        ),
        alone=True,
        position=_position(3, 3),
    ),
    Tampering(
        "truncated tail",
        "the last run, events and row",
        (
            "DELETE FROM events WHERE position > 16",
            "DELETE FROM runs WHERE run_key = '5'",
        ),
        alone=False,
        position=_position(5, 1),
    ),
)


def story_of() -> str:
    """What is in the store, for people."""
    return f"{_RUNS} runs of {_EACH} events each, one after the other, at positions 1 to {_RUNS * _EACH}"


def build(path: Path) -> None:
    """The store that is altered."""
    now = _BEGIN

    def clock() -> datetime:
        nonlocal now
        now += timedelta(seconds=1)
        return now

    with RunTracker(path, clock=clock, progress_interval=0) as tracker:
        for run in range(1, _RUNS + 1):
            tracker.create("import", run_id=run, tags={"team": "data"} if run == 1 else {})
            tracker.start(run, owner=_OWNER)
            tracker.progress(run, 5, 10, message="half of it is done")
            tracker.complete(run, result={"rows": run})


def try_out(tampering: Tampering, folder: Path) -> Found:
    """Make a store and seal it, alter it, and look."""
    folder.mkdir(parents=True)
    store, seal = folder / "runs.db", folder / "before.seal"
    build(store)
    with RunTracker(store) as tracker:
        tracker.seal(seal)
        if not tracker.verify(seal=seal).ok:
            raise RuntimeError("the store is wrong before anybody touches it")
    alter(store, lambda raw: [raw.execute(statement) for statement in tampering.sql])
    with RunTracker(store) as tracker:
        alone, sealed = tracker.verify(), tracker.verify(seal=seal)
    return Found(
        alone.ok is False, sealed.ok is False, sealed.seal and sealed.seal.differs_at, sealed
    )


def alter(store: Path, change: Callable[[sqlite3.Connection], object]) -> None:
    """Change the file with nothing but SQLite."""
    with closing(sqlite3.connect(store)) as raw, raw:
        change(raw)

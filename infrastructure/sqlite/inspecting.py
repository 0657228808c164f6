"""What can be wrong in a file beside runs and their rows."""

# statements are put together from names of our own; values are always bound
from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import datetime, timedelta

from pydantic import ValidationError
from pydantic_core import from_json

from ...domain.status import RunStatus
from ...domain.values import from_micros, to_micros
from ...projections.problems import Problem, ProblemKind, problem
from .datastore import ThreadDatastore
from .rows import id_of, owner_from

TOLERANCE = timedelta(hours=1)
"""How far the clock of a host may be ahead before its lease is reported."""

_SHOWN = 10
"""Problems of one sort that are told one by one; the others would say the same."""
_CLOCK = "put right the clock of that host; the lease ends with the owner's last run"
_OWNER = (
    "restore the table from a backup; until then the runs of this owner cannot be flagged as gone"
)
_LEASE = "delete the row from `leases`; the owner writes it anew with its next beat"
_OUTAGE = (
    "delete the row from `outages`; while it is there, silent owners are excused for that time"
)


def inspect(datastore: ThreadDatastore, now: datetime) -> list[Problem]:
    """See `RunStore.inspect`."""
    with datastore.transaction(commit=False) as cursor:
        raw = cursor.sqlite_cursor
        return [
            *_order(raw),
            *_counters(raw),
            *_tags(raw),
            *_owners(raw),
            *_leases(raw, now),
            *_outages(raw, now),
        ]


def _order(raw: sqlite3.Cursor) -> Iterator[Problem]:
    """Times of recording never decrease with the position. Row by row: a window function would hold them all."""
    before, told = 0, 0
    for position, recorded_at in raw.execute(
        "SELECT position, recorded_at FROM events ORDER BY position"
    ):
        if isinstance(recorded_at, int) and recorded_at >= before:
            before = recorded_at
            continue
        told += 1
        if told > _SHOWN:
            return
        what = (
            f"log: expected position {position} to be recorded at or after its predecessor,"
            f" found {_told(recorded_at)} behind {_told(before)}"
        )
        yield problem(ProblemKind.ORDER, what, position=position)


def _counters(raw: sqlite3.Cursor) -> Iterator[Problem]:
    """Statuses that no run can have are the business of the rows."""
    counted = dict(raw.execute("SELECT status, count(*) FROM runs GROUP BY status").fetchall())
    kept = dict(raw.execute("SELECT status, runs FROM status_counts").fetchall())
    for status in RunStatus:
        expected, found = counted.get(status.value, 0), kept.get(status.value)
        if found != expected:
            what = f"counters: {status.value}: expected {expected} from the rows, found {found}"
            yield problem(ProblemKind.COUNTER, what)


def _tags(raw: sqlite3.Cursor) -> Iterator[Problem]:
    """Each tag of a row is in the table by which it is found, and that table has no others."""
    expected = told = 0
    lookup = raw.connection.cursor()
    rows = raw.execute(
        "SELECT number, run_key, int_id, created_at, tags FROM runs WHERE tags IS NOT NULL"
    )
    for number, key, int_id, created_at, text in rows:
        try:
            tags = from_json(text)
            run_id = id_of(key, int_id)
            expected += len(tags)
        except (TypeError, ValueError):
            continue  # reported as a row that cannot be read
        for name, value in tags.items():
            found = lookup.execute(
                "SELECT 1 FROM run_tags WHERE key = ? AND value = ? AND created_at = ? AND number = ?",
                (name, value, created_at, number),
            ).fetchone()
            if found is None:
                expected -= 1
                told += 1
                if told <= _SHOWN:
                    what = (
                        f"tags: expected to find it by {name}={value}, found that it is not listed"
                    )
                    yield problem(ProblemKind.TAG, what, run_id=run_id)
    (there,) = raw.execute("SELECT count(*) FROM run_tags").fetchone()
    if there != expected:
        what = f"tags: expected {expected} from the rows, found {there}"
        yield problem(ProblemKind.TAG, what)


def _owners(raw: sqlite3.Cursor) -> Iterator[Problem]:
    for number, key, text in raw.execute("SELECT id, key, owner FROM owners"):
        try:
            owner_key = owner_from(text).key
        except (ValidationError, TypeError, ValueError, OverflowError):
            owner_key = None
        if owner_key != key:
            found = "text that is none" if owner_key is None else f"that of {owner_key!r}"
            what = f"owners: row {number}: expected the owner {key!r:.80}, found {found}"
            yield Problem(kind=ProblemKind.OWNER, what=what, remedy=_OWNER)


def _leases(raw: sqlite3.Cursor, now: datetime) -> Iterator[Problem]:
    latest = to_micros(now + TOLERANCE)
    for key, host, pid, renewed_at in raw.execute(
        "SELECT owner, host, pid, renewed_at FROM leases"
    ):
        where = f"leases: {key!r:.80}"
        if _moment(renewed_at) is None or not _belongs(key, host, pid):
            what = f"{where}: expected owner, host, pid and the time of a beat, found {host!r:.40}, {pid!r:.40}, {renewed_at!r:.40}"
            yield Problem(kind=ProblemKind.LEASE, what=what, remedy=_LEASE)
        elif renewed_at > latest:
            what = f"{where}: expected a beat before now, found one at {_moment(renewed_at)}"
            yield Problem(kind=ProblemKind.LEASE, what=what, remedy=_CLOCK)


def _outages(raw: sqlite3.Cursor, now: datetime) -> Iterator[Problem]:
    latest = to_micros(now + TOLERANCE)
    for since, until in raw.execute("SELECT since, until FROM outages"):
        if _moment(since) is None or _moment(until) is None or not since <= until <= latest:
            what = f"outages: expected a time that is over, found {_told(since)} to {_told(until)}"
            yield Problem(kind=ProblemKind.OUTAGE, what=what, remedy=_OUTAGE)


def _belongs(key: object, host: object, pid: object) -> bool:
    """Whether host and pid are the ones in the owner's key: ``host|pid|started|boot|namespace``."""
    return isinstance(key, str) and key.count("|") >= 4 and key.startswith(f"{host}|{pid}|")


def _told(micros: object) -> str:
    return _moment(micros) or f"{micros!r:.40}"


def _moment(micros: object) -> str | None:
    """As people write it; None for what is no moment."""
    try:
        return from_micros(micros).isoformat() if isinstance(micros, int) else None
    except (ValueError, OverflowError):
        return None

"""What can be wrong in a store beside runs and their rows."""

# statements are put together from names of our own; values are always bound
from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from ...domain.records import record
from ...domain.status import RunStatus
from ...domain.values import RunId, from_micros, to_micros
from ...projections.problems import Problem, ProblemKind, problem
from .rows import owner_from

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


@record()
class Inspection:
    """Looks inside one transaction, in which the store stands still."""

    rows: Callable[[str], Iterable[Any]]
    """The rows of a statement, one after the other: there may be very many."""
    counted: Callable[[], Mapping[str, int]]
    """The counters as they are kept; a status whose counter is gone is not in it."""
    unlisted: Callable[[], Iterator[tuple[RunId, str, str]]]
    """Tags of rows that are not in the table by which they are found, with the run that has them."""

    def problems(self, now: datetime) -> list[Problem]:
        """See `RunStore.inspect`."""
        return [
            *self._order(),
            *self._counters(),
            *self._tags(),
            *_owners(self.rows("SELECT id, key, owner FROM owners")),
            *_leases(self.rows("SELECT owner, host, pid, renewed_at FROM leases"), now),
            *_outages(self.rows("SELECT since, until FROM outages"), now),
        ]

    def _order(self) -> Iterator[Problem]:
        """Times of recording never decrease with the position. Row by row: a window function would hold them all."""
        before, told = 0, 0
        for position, recorded_at in self.rows(
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

    def _counters(self) -> Iterator[Problem]:
        """Statuses that no run can have are the business of the rows."""
        counted = dict(self.rows("SELECT status, count(*) FROM runs GROUP BY status"))
        kept = self.counted()
        for status in RunStatus:
            expected, found = counted.get(status.value, 0), kept.get(status.value)
            if found != expected:
                what = f"counters: {status.value}: expected {expected} from the rows, found {found}"
                yield problem(ProblemKind.COUNTER, what)

    def _tags(self) -> Iterator[Problem]:
        """Each tag of a row is in the table by which it is found, and that table has no others."""
        expected = 0
        for (text,) in self.rows("SELECT tags FROM runs WHERE tags IS NOT NULL"):
            with contextlib.suppress(
                TypeError, ValueError
            ):  # reported as a row that cannot be read
                expected += len(from_json(text))
        for told, (run_id, name, value) in enumerate(self.unlisted(), 1):
            expected -= 1
            if told <= _SHOWN:
                what = f"tags: expected to find it by {name}={value}, found that it is not listed"
                yield problem(ProblemKind.TAG, what, run_id=run_id)
        ((there,),) = self.rows("SELECT count(*) FROM run_tags")
        if there != expected:
            what = f"tags: expected {expected} from the rows, found {there}"
            yield problem(ProblemKind.TAG, what)


def _owners(rows: Iterable[Any]) -> Iterator[Problem]:
    for number, key, text in rows:
        try:
            owner_key = owner_from(text).key
        except (ValidationError, TypeError, ValueError, OverflowError):
            owner_key = None
        if owner_key != key:
            found = "text that is none" if owner_key is None else f"that of {owner_key!r}"
            what = f"owners: row {number}: expected the owner {key!r:.80}, found {found}"
            yield Problem(kind=ProblemKind.OWNER, what=what, remedy=_OWNER)


def _leases(rows: Iterable[Any], now: datetime) -> Iterator[Problem]:
    latest = to_micros(now + TOLERANCE)
    for key, host, pid, renewed_at in rows:
        where = f"leases: {key!r:.80}"
        if _moment(renewed_at) is None or not _belongs(key, host, pid):
            what = f"{where}: expected owner, host, pid and the time of a beat, found {host!r:.40}, {pid!r:.40}, {renewed_at!r:.40}"
            yield Problem(kind=ProblemKind.LEASE, what=what, remedy=_LEASE)
        elif renewed_at > latest:
            what = f"{where}: expected a beat before now, found one at {_moment(renewed_at)}"
            yield Problem(kind=ProblemKind.LEASE, what=what, remedy=_CLOCK)


def _outages(rows: Iterable[Any], now: datetime) -> Iterator[Problem]:
    latest = to_micros(now + TOLERANCE)
    for since, until in rows:
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

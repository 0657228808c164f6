"""One append on its way into the file: what can be worked out before the transaction, and what happens inside it.

While a step holds the write lock nobody else writes, so as much as possible is done before: the events' JSON, the fold, the
row's new values. Inside remain one statement an event and one for the row. Only the database knows the position; it is filled
in as soon as it does.
"""

# statements are put together from names of our own; values are always bound
from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from typing import Any, cast

from ...domain.errors import (
    InvalidInput,
    LastwordError,
    RunAlreadyActive,
    StoreCorrupt,
    StoreUnavailable,
    VersionConflict,
)
from ...domain.events import RecordedEvent
from ...domain.values import Owner, from_micros, run_key, to_micros
from ...projections.ports import Append, Appended
from ...projections.run_view import RunView, apply
from ..mapper import encode_event, enveloped
from .links import Link
from .rows import SELECT_VIEW, changes, id_of, new_row, owner_text, view_of

_INSERT = """
INSERT INTO events (originator_id, originator_version, topic, state, event_id, occurred_at, actor, correlation_id, int_id, recorded_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?,
    max(?, ifnull((SELECT recorded_at FROM events ORDER BY position DESC LIMIT 1), 0)))
"""
_INSERT_TAG = "INSERT INTO run_tags (key, value, created_at, number) VALUES (?, ?, ?, ?)"

_UNKNOWN = -1
"""Stands for the position of an event that is not written yet, and for the row of an owner that may have none."""
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

_OF_ITS_VALUES = (sqlite3.IntegrityError, sqlite3.DataError, OverflowError, UnicodeEncodeError)
"""What SQLite says of a step's own values; anything else is about the file."""


class Pending(Enum):
    """Nobody has written it yet."""

    PENDING = 1


PENDING = Pending.PENDING

OwnerIds = dict[str, int]
"""Rows of `owners` by their JSON."""


class PartlyWrittenError(Exception):
    """A step failed after it had written something; the transaction has to be rolled back."""


class Step:
    """An append, ready to be written. Raises `InvalidInput` when it can never be.

    `known` are owners whose rows are committed in the file as it is now.
    """

    __slots__ = ("_known", "_row", "_rows", "_unknown_owner", "append", "done", "events", "key", "outcome", "view", "wake")  # fmt: skip

    def __init__(self, append: Append, known: OwnerIds) -> None:
        view = append.view
        run_id = append.run_id if view is None else view.run_id
        key = run_key(run_id)  # an id that cannot be is refused before anything is written
        version = 0 if view is None else view.version
        if not append.events or version != append.expected_version:
            raise InvalidInput(
                f"run {run_id}: expected events and the view of version {append.expected_version},"
                f" found {len(append.events)} events and a view of version {version}; read the run again"
            )
        if view is not None and view.flag is not None:
            view = view.model_copy(update={"flag": None})  # never stored
        int_id = 1 if isinstance(run_id, int) else None
        correlation_id = append.correlation_id
        rows: list[tuple[Any, ...]] = []
        events: list[RecordedEvent] = []
        for event_id, event, occurred_at, actor in append.events:
            version += 1
            rows.append(
                (
                    key,
                    version,
                    event.TOPIC,
                    encode_event(event),
                    bytes.fromhex(event_id),
                    to_micros(occurred_at),
                    actor,
                    correlation_id,
                    int_id,
                )
            )
            recorded = enveloped(
                event,
                run_id=run_id,
                version=version,
                position=_UNKNOWN,
                event_id=event_id,
                occurred_at=occurred_at.astimezone(UTC),
                recorded_at=_LONG_AGO,
                actor=actor,
                correlation_id=correlation_id,
            )
            view = apply(view, recorded)
            events.append(recorded)
        self.append = append
        self.key = key
        self.events = events
        self.view = cast("RunView", view)
        """The fold with the new events; its position is that of the newest once they are written."""
        self.outcome: Appended | Exception | Pending | None = PENDING
        """What became of it; None when the guard said no."""
        self.done = False
        """True once the outcome is final."""
        self.wake: Callable[[], object] | None = None
        """Wakes the thread that waits for another one to write this."""
        self._rows = rows
        self._known = known
        self._unknown_owner = False
        self._row = self._fill(self._known_owner)

    def _fill(self, owner_id: Callable[[Owner], int]) -> tuple[str, list[Any]]:
        """The statement for the run's row, and its values."""
        old = self.append.view
        if old is None:
            return new_row(self.view, _UNKNOWN, owner_id)
        return changes(old, self.view, owner_id)

    def _known_owner(self, owner: Owner) -> int:
        number = self._known.get(owner_text(owner))
        if number is None:
            self._unknown_owner = True
            return _UNKNOWN
        return number

    def write(
        self, cursor: sqlite3.Cursor, link: Link, now: datetime, known: OwnerIds, met: OwnerIds
    ) -> None:
        """Write it, inside a transaction that has the write lock; `outcome` says what became of it.

        `known` are owners that are committed, `met` those that this transaction has come across. Raises what the guard raises, the driver's
        errors, and `PartlyWrittenError` when it was refused after it had written something.
        """
        append = self.append
        if append.guard is not None and not _allows(append.guard, cursor, self.key):
            self.outcome = None
            return
        written = 0
        vars(self.events[0])["position"] = _UNKNOWN
        try:
            for values, recorded in zip(self._rows, self.events, strict=True):
                position, recorded_at = _insert(cursor, values, now, link)
                written += 1
                envelope = vars(recorded)  # nobody else has seen it yet
                envelope["position"], envelope["recorded_at"] = position, recorded_at
            vars(self.view)["position"] = self.events[-1].position
            self._write_row(cursor, known, met)
        except (LastwordError, *_OF_ITS_VALUES) as error:
            refused = error
            if isinstance(error, sqlite3.IntegrityError):
                refused = self._refused(cursor, error)
                refused.__cause__ = error
        else:
            self.outcome = Appended(tuple(self.events), self.view)
            return
        self.outcome = refused
        if written:
            raise PartlyWrittenError from refused

    def _write_row(self, cursor: sqlite3.Cursor, known: OwnerIds, met: OwnerIds) -> None:
        if self._unknown_owner or self._known is not known:
            self._row = self._fill(lambda owner: owner_row(cursor, owner, met))
        statement, values = self._row
        position = self.view.position
        values[-1] = position  # the last one of the view's columns
        if self.append.view is None:
            number = values[0] = self.events[0].position
            cursor.execute(statement, values)
            if self.view.tags:
                created_at = to_micros(self.view.created_at)
                cursor.executemany(
                    _INSERT_TAG,
                    [(key, value, created_at, number) for key, value in self.view.tags.items()],
                )
            return
        cursor.execute(statement, (*values, self.key, self.append.expected_version))
        if cursor.rowcount != 1:
            raise self._out_of_step(cursor)

    def _version_before(self, cursor: sqlite3.Cursor) -> int:
        """How many events the run had before this transaction."""
        first = self.events[0].position
        (version,) = cursor.execute(
            "SELECT max(originator_version) FROM events WHERE originator_id = ? AND position < ?",
            (self.key, 1 << 62 if first == _UNKNOWN else first),
        ).fetchone()
        return version or 0

    def _out_of_step(self, cursor: sqlite3.Cursor) -> LastwordError:
        """The row did not have the expected version: either the run has not, or the row is not that of its events."""
        append = self.append
        (older,) = cursor.execute(
            "SELECT count(*) FROM events WHERE originator_id = ? AND originator_version <= ?",
            (self.key, append.expected_version),
        ).fetchone()
        if older < append.expected_version:
            return VersionConflict(append.run_id, append.expected_version, older)
        row = cursor.execute("SELECT version FROM runs WHERE run_key = ?", (self.key,)).fetchone()
        found = "no row" if row is None else f"a row of version {row[0]}"
        return StoreCorrupt(
            f"run {append.run_id}: expected a row of version {append.expected_version}, found {found},"
            " which is not what its events say; `lastword rebuild` computes all rows anew"
        )

    def _refused(self, cursor: sqlite3.Cursor, error: sqlite3.IntegrityError) -> LastwordError:
        """What a constraint that was hurt means to the caller."""
        append = self.append
        message = str(error)
        if "events.originator_id" in message:
            found = self._version_before(cursor)
            return VersionConflict(append.run_id, append.expected_version, found)
        if "runs.exclusive" in message:
            exclusive = next(
                (
                    value
                    for new in append.events
                    if (value := getattr(new.event, "exclusive", None))
                ),
                "",
            )
            active = cursor.execute(
                "SELECT run_key, int_id FROM runs WHERE exclusive = ? AND status IN ('pending', 'running')",
                (exclusive,),
            ).fetchone()
            if active is not None:
                return RunAlreadyActive(append.run_id, exclusive, id_of(*active))
        if "runs.run_key" in message or "runs.number" in message:
            return StoreCorrupt(
                f"run {append.run_id}: expected no row for a run without events, found one;"
                " `lastword rebuild` computes all rows anew"
            )
        return StoreUnavailable(
            f"run {append.run_id}: expected to append, found that the store refused it ({message}); try again",
            transient=False,
        )


def _insert(
    cursor: sqlite3.Cursor, values: tuple[Any, ...], now: datetime, link: Link
) -> tuple[int, datetime]:
    """The event's position, and when it was taken: now, unless an earlier event was taken later than that."""
    micros = to_micros(now)
    cursor.execute(_INSERT, (*values, micros))
    position = cursor.lastrowid or 0
    if link.newest != position - 1 or link.newest_at > micros:
        # Others have written since this connection did, or the clock was set back.
        cursor.execute("SELECT recorded_at FROM events WHERE position = ?", (position,))
        (micros,) = cursor.fetchone()
        now = from_micros(micros)
    link.newest, link.newest_at = position, micros
    return position, now


def _allows(guard: Callable[[RunView], bool], cursor: sqlite3.Cursor, key: str) -> bool:
    cursor.execute(f"{SELECT_VIEW} WHERE r.run_key = ?", (key,))
    row = cursor.fetchone()
    return row is None or guard(view_of(row))


def owner_row(cursor: sqlite3.Cursor, owner: Owner, met: OwnerIds) -> int:
    """The number of the owner's row, which is made when it is missing; `met` gets it."""
    text = owner_text(owner)
    number = met.get(text)
    if number is None:
        found = cursor.execute("SELECT id FROM owners WHERE owner = ?", (text,)).fetchone()
        if found is None:
            cursor.execute(
                "INSERT INTO owners (key, owner) VALUES (?, ?) RETURNING id", (owner.key, text)
            )
            found = cursor.fetchone()
        number = met[text] = cast("int", found[0])
    return number

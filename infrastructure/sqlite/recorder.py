"""Events and rows in one transaction: the eventsourcing library's recorder, with the projection written inside it."""

# ruff: noqa: S608  # statements are put together from names of our own; values are always bound
from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from eventsourcing.persistence import Notification, StoredEvent
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteCursor

from ...domain.errors import (
    LastwordError,
    RunAlreadyActive,
    StoreCorrupt,
    StoreUnavailable,
    VersionConflict,
)
from ...domain.events import RecordedEvent
from ...domain.values import Owner, from_micros, to_micros
from ...projections.ports import Append
from ...projections.run_view import RunView, apply
from ..mapper import EVENT_COLUMNS, StoredRunEvent, enveloped
from .datastore import ThreadDatastore
from .links import Link
from .rows import SELECT_VIEW, changes, id_of, new_row, owner_text, view_of
from .waiting import PollingSubscription

_INSERT_BARE = (
    "INSERT INTO events (originator_id, originator_version, topic, state) VALUES (?, ?, ?, ?)"
)
_INSERT = """
INSERT INTO events (originator_id, originator_version, topic, state, event_id, occurred_at, actor, correlation_id, int_id, recorded_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?,
    max(?, ifnull((SELECT recorded_at FROM events ORDER BY position DESC LIMIT 1), 0)))
"""
_INSERT_TAG = "INSERT INTO run_tags (key, value, created_at, number) VALUES (?, ?, ?, ?)"

SELECT_EVENTS = f"SELECT {', '.join(EVENT_COLUMNS)} FROM events "
"""Rows for `mapper.recorded_event`."""


class GuardRefusedError(Exception):
    """The append's guard said no; the transaction is rolled back."""


@dataclass(slots=True)
class Projection:
    """What goes into the rows in the transaction of the events, and what came of it."""

    append: Append
    view: RunView | None = None
    """The view with the events applied; None until they are written."""
    events: list[RecordedEvent] = field(default_factory=list[RecordedEvent])
    link: Link | None = None
    """The connection that it is written on, which knows some things already."""


class RunRecorder(SQLiteApplicationRecorder):
    """Records events, and with a `projection` the run's row, too.

    It keeps the contract of the library's recorders; only the table is ours. `clock` says when an event was taken.
    """

    datastore: ThreadDatastore

    def __init__(self, datastore: ThreadDatastore, clock: Callable[[], datetime]) -> None:
        super().__init__(datastore, events_table_name="events")
        self._clock = clock

    def construct_create_table_statements(self) -> list[str]:
        """None: `schema.migrate` makes the tables."""
        return []

    # -- writing

    def insert_events(
        self, stored_events: Sequence[StoredEvent], **kwargs: Any
    ) -> Sequence[int] | None:
        """Write all of the events or none. Raises the library's `IntegrityError` for a version that is taken.

        With `projection` the run's row is written, too; then `VersionConflict` and `RunAlreadyActive` are raised instead.
        `link` is a connection to use instead of the thread's own.
        """
        transaction = self.datastore.transaction(commit=True, link=kwargs.pop("link", None))
        with transaction as cursor:
            projection: Projection | None = kwargs.get("projection")
            if projection is not None:
                projection.link = transaction.link
            positions = self._insert_events(cursor, stored_events, **kwargs)
        self.datastore.bell.ring()
        return positions

    def _insert_events(
        self, c: SQLiteCursor, stored_events: Sequence[StoredEvent], **kwargs: Any
    ) -> Sequence[int] | None:
        projection: Projection | None = kwargs.get("projection")
        cursor = c.sqlite_cursor
        if projection is None:
            return [_insert_bare(cursor, stored) for stored in stored_events]
        append = projection.append
        if append.guard is not None:
            _ask(append.guard, cursor, append)
        view = append.view
        if view is not None and view.flag is not None:
            view = view.model_copy(update={"flag": None})  # never stored
        run_id = append.run_id if view is None else view.run_id
        now = self._clock().astimezone(UTC)
        positions: list[int] = []
        try:
            for new, stored in zip(append.events, stored_events, strict=True):
                position, recorded_at = _insert(cursor, stored, now, projection.link)
                recorded = enveloped(
                    new.event,
                    run_id=run_id,
                    version=stored.originator_version,
                    position=position,
                    event_id=new.event_id,
                    occurred_at=new.occurred_at.astimezone(UTC),
                    recorded_at=recorded_at,
                    actor=new.actor,
                    correlation_id=append.correlation_id,
                )
                view = apply(view, recorded)
                positions.append(position)
                projection.events.append(recorded)
            if view is not None:
                _write_row(cursor, projection, view, positions)
        except sqlite3.IntegrityError as error:
            raise _conflict(cursor, projection, error) from error
        projection.view = view
        return positions

    # -- reading

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """The events of one run, by version."""
        key = originator_id.hex if isinstance(originator_id, UUID) else originator_id
        statement = SELECT_EVENTS + "WHERE originator_id = ?"
        parameters: list[Any] = [key]
        if gt is not None:
            statement += " AND originator_version > ?"
            parameters.append(gt)
        if lte is not None:
            statement += " AND originator_version <= ?"
            parameters.append(lte)
        statement += f" ORDER BY originator_version {'DESC' if desc else 'ASC'}"
        if limit is not None:
            statement += " LIMIT ?"
            parameters.append(limit)
        return [self._stored(row) for row in self.datastore.fetch(statement, parameters)]

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """Events of the whole store, by position."""
        statement = (
            "SELECT position, originator_id, originator_version, topic, state FROM events WHERE 1"
        )
        parameters: list[Any] = []
        if start is not None:
            statement += f" AND position {'>=' if inclusive_of_start else '>'} ?"
            parameters.append(start)
        if stop is not None:
            statement += " AND position <= ?"
            parameters.append(stop)
        if topics:
            statement += f" AND topic IN ({', '.join('?' * len(topics))})"
            parameters.extend(topics)
        rows = self.datastore.fetch(f"{statement} ORDER BY position LIMIT ?", [*parameters, limit])
        return [
            Notification(
                id=position,
                originator_id=self.convert_originator_id(originator_id),
                originator_version=version,
                topic=topic,
                state=state,
            )
            for position, originator_id, version, topic, state in rows
        ]

    def max_notification_id(self) -> int | None:  # type: ignore[override]  # the abstract base allows None; an empty store has no maximum
        """The newest event's position; None for an empty store."""
        return self.datastore.fetch("SELECT max(position) FROM events")[0][0]

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> PollingSubscription:
        """Events behind a position and all that come, as the library's subscription gives them."""
        return PollingSubscription(self, gt, topics)

    def _stored(self, row: Sequence[Any]) -> StoredEvent:
        position, originator_id, version, topic, state, event_id, occurred_at, recorded_at = row[:8]
        if event_id is None:  # written through the library's own interface
            return StoredEvent(self.convert_originator_id(originator_id), version, topic, state)
        actor, correlation_id, int_id = row[8:]
        return StoredRunEvent(
            originator_id=originator_id,
            originator_version=version,
            topic=topic,
            state=state,
            event_id=event_id,
            occurred_at=occurred_at,
            actor=actor,
            correlation_id=correlation_id,
            int_id=int_id,
            recorded_at=recorded_at,
            position=position,
        )


def _insert_bare(cursor: sqlite3.Cursor, stored: StoredEvent) -> int:
    originator_id = stored.originator_id
    key = originator_id.hex if isinstance(originator_id, UUID) else originator_id
    cursor.execute(_INSERT_BARE, (key, stored.originator_version, stored.topic, stored.state))
    return cursor.lastrowid or 0


def _insert(
    cursor: sqlite3.Cursor, stored: StoredEvent, now: datetime, link: Link | None
) -> tuple[int, datetime]:
    """The event's position, and when it was taken: now, unless an earlier event was taken later than that."""
    assert isinstance(stored, StoredRunEvent)  # noqa: S101  # the store made it
    micros = to_micros(now)
    cursor.execute(
        _INSERT,
        (
            stored.originator_id,
            stored.originator_version,
            stored.topic,
            stored.state,
            stored.event_id,
            stored.occurred_at,
            stored.actor,
            stored.correlation_id,
            stored.int_id,
            micros,
        ),
    )
    position = cursor.lastrowid or 0
    if link is None or link.newest != position - 1 or link.newest_at > micros:
        # Others have written since this connection did, or the clock was set back.
        cursor.execute("SELECT recorded_at FROM events WHERE position = ?", (position,))
        (micros,) = cursor.fetchone()
        now = from_micros(micros)
    if link is not None:
        link.newest, link.newest_at = position, micros
    return position, now


def _ask(guard: Callable[[RunView], bool], cursor: sqlite3.Cursor, append: Append) -> None:
    cursor.execute(f"{SELECT_VIEW} WHERE r.run_key = ?", (str(append.run_id),))
    row = cursor.fetchone()
    if row is not None and not guard(view_of(row)):
        raise GuardRefusedError


def _write_row(
    cursor: sqlite3.Cursor, projection: Projection, view: RunView, positions: list[int]
) -> None:
    append = projection.append

    def owner_id(owner: Owner) -> int:
        link = projection.link
        return owner_row(cursor, owner, {} if link is None else link.owner_ids)

    if append.view is None:
        number = positions[0]
        cursor.execute(*new_row(view, number, owner_id))
        if view.tags:
            created_at = to_micros(view.created_at)
            cursor.executemany(
                _INSERT_TAG,
                [(key, value, created_at, number) for key, value in view.tags.items()],
            )
        return
    statement, values = changes(append.view, view, owner_id)
    cursor.execute(statement, (*values, str(append.run_id), append.expected_version))
    if cursor.rowcount != 1:
        raise _out_of_step(cursor, append)


def owner_row(cursor: sqlite3.Cursor, owner: Owner, known: dict[str, int]) -> int:
    """The number of the owner's row, which is made when it is missing.

    `known` holds rows that are committed; a row made here gets in when it is met again.
    """
    text = owner_text(owner)
    number = known.get(text)
    if number is not None:
        return number
    found = cursor.execute("SELECT id FROM owners WHERE owner = ?", (text,)).fetchone()
    if found is not None:
        known[text] = found[0]
        return found[0]
    cursor.execute("INSERT INTO owners (key, owner) VALUES (?, ?) RETURNING id", (owner.key, text))
    return cursor.fetchone()[0]


def _version_before(cursor: sqlite3.Cursor, projection: Projection) -> int:
    """How many events the run had before this transaction."""
    own = projection.events
    first = own[0].position if own else 1 << 62
    (version,) = cursor.execute(
        "SELECT max(originator_version) FROM events WHERE originator_id = ? AND position < ?",
        (str(projection.append.run_id), first),
    ).fetchone()
    return version or 0


def _out_of_step(cursor: sqlite3.Cursor, append: Append) -> LastwordError:
    """The row did not have the expected version: either the run has not, or the row is not that of its events."""
    (older,) = cursor.execute(
        "SELECT count(*) FROM events WHERE originator_id = ? AND originator_version <= ?",
        (str(append.run_id), append.expected_version),
    ).fetchone()
    if older < append.expected_version:
        return VersionConflict(append.run_id, append.expected_version, older)
    row = cursor.execute(
        "SELECT version FROM runs WHERE run_key = ?", (str(append.run_id),)
    ).fetchone()
    found = "no row" if row is None else f"a row of version {row[0]}"
    return StoreCorrupt(
        f"run {append.run_id}: expected a row of version {append.expected_version}, found {found},"
        " which is not what its events say; `lastword rebuild` computes all rows anew"
    )


def _conflict(
    cursor: sqlite3.Cursor, projection: Projection, error: sqlite3.IntegrityError
) -> LastwordError:
    """What a constraint that was hurt means to the caller."""
    append = projection.append
    message = str(error)
    if "events.originator_id" in message:
        found = _version_before(cursor, projection)
        return VersionConflict(append.run_id, append.expected_version, found)
    if "runs.exclusive" in message:
        exclusive = next(
            (value for new in append.events if (value := getattr(new.event, "exclusive", None))),
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

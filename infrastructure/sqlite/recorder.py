"""The eventsourcing library's recorder on our table of events. Events of runs come into it by `steps`, together with the row."""

# ruff: noqa: S608  # statements are put together from names of our own; values are always bound
from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from eventsourcing.persistence import Notification, StoredEvent
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteCursor

from ..mapper import EVENT_COLUMNS, StoredRunEvent
from .datastore import ThreadDatastore
from .waiting import PollingSubscription

_INSERT_BARE = (
    "INSERT INTO events (originator_id, originator_version, topic, state) VALUES (?, ?, ?, ?)"
)

SELECT_EVENTS = f"SELECT {', '.join(EVENT_COLUMNS)} FROM events "
"""Rows for `mapper.recorded_event`."""


class RunRecorder(SQLiteApplicationRecorder):
    """Keeps the contract of the library's recorders; only the table is ours."""

    datastore: ThreadDatastore

    def __init__(self, datastore: ThreadDatastore) -> None:
        super().__init__(datastore, events_table_name="events")

    def construct_create_table_statements(self) -> list[str]:
        """None: `schema.migrate` makes the tables."""
        return []

    # -- writing

    def insert_events(
        self, stored_events: Sequence[StoredEvent], **kwargs: Any
    ) -> Sequence[int] | None:
        """Write all of the events or none. Raises the library's `IntegrityError` for a version that is taken."""
        with self.datastore.transaction(commit=True) as cursor:
            positions = self._insert_events(cursor, stored_events, **kwargs)
        self.datastore.bell.ring()
        return positions

    def _insert_events(
        self, c: SQLiteCursor, stored_events: Sequence[StoredEvent], **kwargs: Any
    ) -> Sequence[int] | None:
        return [_insert_bare(c.sqlite_cursor, stored) for stored in stored_events]

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

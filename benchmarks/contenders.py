"""Ways to record create -> start -> complete in SQLite: the floor, Lastword, and what else one might use.

All of them write to a file in WAL mode with ``synchronous = FULL`` and commit three times a lifecycle.
"""

# statements are put together from names of our own; values are always bound
from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

import uuid_utils
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import StoredEvent
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteCursor
from eventsourcing.utils import get_topic
from pydantic import JsonValue

from lastword import RunTracker
from lastword.infrastructure.liveness.owners import this_owner
from lastword.infrastructure.sqlite import SQLiteStore
from lastword.infrastructure.sqlite.links import PRAGMAS
from lastword.infrastructure.sqlite.rows import OF_RUN

NAME = "import"
RESULT: dict[str, JsonValue] = {"rows": 10}


def micros() -> int:
    """Now, in microseconds since 1970."""
    return time.time_ns() // 1000


class Lastword:
    """`RunTracker` as a service would use it."""

    name = "Lastword"

    def __init__(self, folder: Path) -> None:
        self.path = folder / "lastword.db"
        self._tracker = RunTracker(self.path)

    def lifecycle(self) -> None:
        """See `Contender`."""
        tracker = self._tracker
        run_id = tracker.create(NAME)
        tracker.start(run_id)
        tracker.complete(run_id, result=RESULT)

    def close(self) -> None:
        """See `Contender`."""
        self._tracker.close()


class Floor:
    """The bare driver: the rows that Lastword writes, in tables that Lastword made, by hand.

    `RunTracker.verify` accepts the file, so nothing was left out.
    """

    name = "bare sqlite3 (the floor)"

    _EVENT = (
        "INSERT INTO events (originator_id, originator_version, topic, state, event_id, occurred_at, recorded_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)"
    )
    _CREATED = (
        "INSERT INTO runs (number, run_key, name, status, status_update_failed, created_at, attempt, lease_seconds,"
        " contradicted, version, position) VALUES (?, ?, ?, 'pending', 0, ?, 1, 60.0, 0, 1, ?)"
    )
    _STARTED = (
        "UPDATE runs SET status = 'running', started_at = ?, last_seen_at = ?, owner = ?, version = 2, position = ?"
        f" WHERE {OF_RUN} AND version = 1"
    )
    _COMPLETED = (
        "UPDATE runs SET status = 'completed', finished_at = ?, last_seen_at = ?, result = ?, version = 3, position = ?"
        f" WHERE {OF_RUN} AND version = 2"
    )

    def __init__(self, folder: Path, name: str = "floor.db") -> None:
        self.path = folder / name
        SQLiteStore(self.path).close()
        self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        for pragma in PRAGMAS:
            self._db.execute(pragma)
        owner = this_owner()
        self._owner = owner.model_dump_json(exclude_none=True)
        row = (owner.key, self._owner)
        self._db.execute("INSERT OR IGNORE INTO owners (key, owner) VALUES (?, ?)", row)
        (self._owner_id,) = self._db.execute(
            "SELECT id FROM owners WHERE owner = ?", (self._owner,)
        ).fetchone()

    def lifecycle(self) -> None:
        """See `Contender`."""
        key = str(uuid_utils.uuid7())
        position, now = self._begin(key, 1, "RunCreated", json.dumps({"name": NAME}))
        self._end(self._CREATED, (position, key, NAME, now, position))
        position, now = self._begin(key, 2, "RunStarted", f'{{"owner":{self._owner}}}')
        self._end(self._STARTED, (now, now, self._owner_id, position, key))
        payload = {"result": RESULT}
        position, now = self._begin(key, 3, "RunCompleted", json.dumps(payload))
        self._end(self._COMPLETED, (now, now, json.dumps(RESULT), position, key))

    def _begin(self, key: str, version: int, topic: str, state: str) -> tuple[int | None, int]:
        row = self._row(key, version, topic, state)
        execute = self._db.execute
        execute("BEGIN IMMEDIATE")
        return execute(self._EVENT, row).lastrowid, row[-1]

    def _row(self, key: str, version: int, topic: str, state: str) -> tuple[Any, ...]:
        now = micros()
        return key, version, topic, state.encode(), uuid_utils.uuid7().bytes, now, now

    def _end(self, statement: str, values: tuple[Any, ...]) -> None:
        self._db.execute(statement, values)
        self._db.execute("COMMIT")

    def close(self) -> None:
        """See `Contender`."""
        self._db.close()


class StatusColumn:
    """What many services do by hand: one row a run, its status overwritten. No history, no view to fold."""

    name = "UPDATE runs SET status"

    def __init__(self, folder: Path) -> None:
        self.path = folder / "status.db"
        self._db = sqlite3.connect(self.path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        for pragma in PRAGMAS:
            self._db.execute(pragma)
        self._db.execute(
            "CREATE TABLE runs (id TEXT PRIMARY KEY, name TEXT, status TEXT, created_at INTEGER, started_at INTEGER,"
            " finished_at INTEGER, result TEXT)"
        )
        self._db.execute("CREATE INDEX runs_by_status ON runs (status, created_at)")

    def lifecycle(self) -> None:
        """See `Contender`."""
        key = str(uuid_utils.uuid7())
        execute = self._db.execute
        execute(
            "INSERT INTO runs VALUES (?, ?, 'pending', ?, NULL, NULL, NULL)", (key, NAME, micros())
        )
        execute("UPDATE runs SET status = 'running', started_at = ? WHERE id = ?", (micros(), key))
        execute(
            "UPDATE runs SET status = 'completed', finished_at = ?, result = ? WHERE id = ?",
            (micros(), json.dumps(RESULT), key),
        )

    def close(self) -> None:
        """See `Contender`."""
        self._db.close()


class StockRun(Aggregate):
    """A run as the eventsourcing library's tutorial would write it."""

    @event("Created")
    def __init__(self, name: str) -> None:
        self.name = name
        self.status = "pending"
        self.owner = ""
        self.result: dict[str, JsonValue] = {}

    @event("Started")
    def start(self, owner: str) -> None:
        """The work begins."""
        self.status = "running"
        self.owner = owner

    @event("Completed")
    def complete(self, result: dict[str, JsonValue]) -> None:
        """The work succeeded."""
        self.status = "completed"
        self.result = result


class Stock:
    """The eventsourcing library as it comes: an application, an aggregate, its SQLite module. It keeps no view."""

    name = "eventsourcing, stock"
    environment: ClassVar[dict[str, str]] = {}

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"{type(self).__name__}.db"
        self._app = Application(
            env={
                "PERSISTENCE_MODULE": "eventsourcing.sqlite",
                "SQLITE_DBNAME": str(self.path),
                **self.environment,
            }
        )
        self._owner = this_owner().model_dump_json(exclude_none=True)

    def lifecycle(self) -> None:
        """See `Contender`."""
        app = self._app
        run = StockRun(NAME)
        app.save(run)
        run = self._get(run.id)
        run.start(self._owner)
        app.save(run)
        run = self._get(run.id)
        run.complete(RESULT)
        app.save(run)

    def _get(self, run_id: UUID) -> StockRun:
        return self._app.repository.get(run_id)

    def close(self) -> None:
        """See `Contender`."""
        self._app.close()


class ViewRecorder(SQLiteApplicationRecorder):
    """The library's recorder with a status row in the same transaction."""

    def construct_create_table_statements(self) -> list[str]:
        """The library's tables and ours."""
        return [
            *super().construct_create_table_statements(),
            "CREATE TABLE IF NOT EXISTS runs (id TEXT PRIMARY KEY, status TEXT, version INTEGER, position INTEGER)",
            "CREATE INDEX IF NOT EXISTS runs_by_status ON runs (status)",
        ]

    def _insert_events(
        self, c: SQLiteCursor, stored_events: Sequence[StoredEvent], **kwargs: Any
    ) -> Sequence[int] | None:
        positions = super()._insert_events(c, stored_events, **kwargs)
        for stored, position in zip(stored_events, positions or (), strict=True):
            c.execute(
                "INSERT INTO runs VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET status = excluded.status,"
                " version = excluded.version, position = excluded.position",
                (
                    str(stored.originator_id),
                    stored.topic.rpartition(".")[2],
                    stored.originator_version,
                    position,
                ),
            )
        return positions


class StockWithView(Stock):
    """The same with a small status row (not Lastword's columns and indexes)."""

    name = "eventsourcing, stock + view row"
    environment: ClassVar[dict[str, str]] = {"APPLICATION_RECORDER_TOPIC": get_topic(ViewRecorder)}


ALL = (Floor, Lastword, Stock, StockWithView, StatusColumn)
"""In the order of the table; the first one is the floor."""

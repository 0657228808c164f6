"""The bare driver on PostgreSQL: the rows that Lastword writes, in tables that Lastword made, by hand.

Each step is one statement, so one round trip and one commit: event, row, counters' move and exclusive key together. Positions
come from the sequence as they come: followers of such a log miss events, which is what Lastword pays for on top.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

import psycopg
import uuid_utils
from contenders import NAME, RESULT, micros
from crowds import Worker

from lastword.infrastructure.liveness.owners import this_owner
from lastword.infrastructure.opening import open_store

_EVENT = """
WITH event AS (
    INSERT INTO events (position, originator_id, originator_version, topic, state, event_id, occurred_at, recorded_at, moved)
    VALUES (nextval('positions'), %s, {version}, '{topic}', %s, %s, %s, %s, {moved}) RETURNING position, recorded_at
)
"""
_CREATED = (
    _EVENT.format(version=1, topic="RunCreated", moved=1)
    + """
INSERT INTO runs (number, run_key, name, status, status_update_failed, created_at, attempt, lease_seconds, contradicted, version,
    position)
SELECT position, %s, %s, 'pending', 0, recorded_at, 1, 60.0, 0, 1, position FROM event RETURNING position
"""
)
_STARTED = (
    _EVENT.format(version=2, topic="RunStarted", moved=12)
    + """
UPDATE runs r SET status = 'running', started_at = recorded_at, last_seen_at = recorded_at, owner = %s, version = 2,
    position = event.position
FROM event WHERE r.run_key = %s AND r.version = 1 RETURNING event.position
"""
)
_COMPLETED = (
    _EVENT.format(version=3, topic="RunCompleted", moved=23)
    + """
UPDATE runs r SET status = 'completed', finished_at = recorded_at, last_seen_at = recorded_at, result = %s, version = 3,
    position = event.position
FROM event WHERE r.run_key = %s AND r.version = 2 RETURNING event.position
"""
)


class Floor:
    """One connection, three prepared statements."""

    name: ClassVar[str] = "bare psycopg, one round trip a step (the floor)"

    @classmethod
    def crowd(cls, url: str, number: int) -> list[Worker]:
        """A connection for each thread."""
        return [cls(url) for _ in range(number)]

    def __init__(self, url: str) -> None:
        open_store(f"{url}?schema=floor").close()  # makes the tables
        self._db = psycopg.connect(url, autocommit=True, prepare_threshold=0)
        self._db.execute("SET search_path TO floor")
        owner = this_owner()
        self._owner = owner.model_dump_json(exclude_none=True)
        self._db.execute(
            "INSERT INTO owners (key, owner) VALUES (%s, %s) ON CONFLICT DO NOTHING",
            (owner.key, self._owner),
        )
        (self._owner_id,) = self._row("SELECT id FROM owners WHERE owner = %s", self._owner)

    def _row(self, statement: str, *values: Any) -> tuple[Any, ...]:
        found = self._db.execute(statement, values).fetchone()  # pyright: ignore[reportArgumentType,reportCallIssue]  # a text of ours
        assert found is not None
        return found

    def lifecycle(self) -> None:
        """See `Worker`."""
        key, row = str(uuid_utils.uuid7()), self._row
        payload: dict[str, Any] = {"name": NAME}
        now, event_id = micros(), uuid_utils.uuid7().bytes
        row(_CREATED, key, json.dumps(payload).encode(), event_id, now, now, key, NAME)
        now, event_id = micros(), uuid_utils.uuid7().bytes
        state = f'{{"owner":{self._owner}}}'.encode()
        row(_STARTED, key, state, event_id, now, now, self._owner_id, key)
        now, event_id = micros(), uuid_utils.uuid7().bytes
        state = json.dumps({"result": RESULT}).encode()
        row(_COMPLETED, key, state, event_id, now, now, json.dumps(RESULT), key)

    def close(self) -> None:
        """See `Worker`."""
        self._db.close()

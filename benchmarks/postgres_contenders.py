"""Ways to record create -> start -> complete in PostgreSQL: Lastword, and what else one might use. The floor is in `postgres_floor.py`.

Run as ``python postgres_contenders.py NAME URL`` each is a process of a crowd.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol
from urllib.parse import urlsplit

import psycopg
from contenders import NAME, RESULT
from contenders import Stock as StockOnSQLite
from crowds import Worker, serve
from eventsourcing.application import Application
from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder
from eventsourcing.utils import get_topic
from postgres_floor import Floor
from psycopg.sql import SQL, Identifier

from lastword import RunTracker
from lastword.infrastructure.liveness.owners import this_owner


class Lastword:
    """`RunTracker` as a service would use it: one for all threads."""

    name: ClassVar[str] = "Lastword"

    @classmethod
    def crowd(cls, url: str, number: int) -> list[Worker]:
        """See `Maker`."""
        return [cls(url)] * number

    def __init__(self, url: str) -> None:
        self._tracker = RunTracker(f"{url}?schema=lastword")

    def lifecycle(self) -> None:
        """See `Worker`."""
        tracker = self._tracker
        run_id = tracker.create(NAME)
        tracker.start(run_id)
        tracker.complete(run_id, result=RESULT)

    def close(self) -> None:
        """See `Worker`."""
        self._tracker.close()


class Stock(StockOnSQLite):
    """The eventsourcing library as it comes: an application, an aggregate, its PostgreSQL module. It keeps no view."""

    name: ClassVar[str] = "eventsourcing, stock"
    schema = "stock"
    environment: ClassVar[dict[str, str]] = {}

    @classmethod
    def crowd(cls, url: str, number: int) -> list[Worker]:
        """See `Maker`."""
        return [cls(url)] * number

    def __init__(self, url: str) -> None:
        place = urlsplit(url)
        environment = {
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "POSTGRES_DBNAME": place.path.removeprefix("/"),
            "POSTGRES_HOST": place.hostname or "",
            "POSTGRES_PORT": str(place.port),
            "POSTGRES_USER": place.username or "",
            "POSTGRES_PASSWORD": place.password or "none",
            "POSTGRES_SCHEMA": self.schema,
            "POSTGRES_POOL_SIZE": "10",
            **self.environment,
        }
        with psycopg.connect(url, autocommit=True) as connection:
            # Processes that make the library's tables at the same time fall over each other.
            connection.execute("SELECT pg_advisory_lock(1)")
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {self.schema}")  # pyright: ignore[reportArgumentType,reportCallIssue]  # a name of ours
            self._app = Application(env=environment)
        self._owner = this_owner().model_dump_json(exclude_none=True)


class ViewRecorder(PostgresApplicationRecorder):
    """The library's recorder with a small status row in the same transaction (not Lastword's columns and indexes)."""

    def __init__(self, datastore: Any, **names: str) -> None:
        super().__init__(datastore, **names)
        self.sql_create_statements.append(
            SQL(
                "CREATE TABLE IF NOT EXISTS {0}.runs (id text PRIMARY KEY, status text NOT NULL, version bigint NOT NULL)"
            ).format(Identifier(self.datastore.schema))
        )
        self.sql_create_statements.append(
            SQL("CREATE INDEX IF NOT EXISTS runs_by_status ON {0}.runs (status)").format(
                Identifier(self.datastore.schema)
            )
        )
        self._put = SQL(
            "INSERT INTO {0}.runs VALUES (%s, %s, %s) ON CONFLICT (id) DO UPDATE"
            " SET status = excluded.status, version = excluded.version"
        ).format(Identifier(self.datastore.schema))

    def _insert_events(self, curs: Any, stored_events: Sequence[StoredEvent], **_: Any) -> None:
        for stored in stored_events:
            status = stored.topic.rpartition(".")[2]
            row = (str(stored.originator_id), status, stored.originator_version)
            curs.execute(self._put, row, prepare=True)


class StockWithView(Stock):
    """The same with a status row."""

    name: ClassVar[str] = "eventsourcing, stock + view row"
    schema = "stock_view"
    environment: ClassVar[dict[str, str]] = {"APPLICATION_RECORDER_TOPIC": get_topic(ViewRecorder)}


class Maker(Protocol):
    """A class of contenders."""

    name: str

    def __call__(self, url: str) -> Worker:
        """One for a process of its own."""
        ...

    def crowd(self, url: str, number: int) -> Sequence[Worker]:
        """As many for threads of one process; they may be the same object."""
        ...


MAKERS: dict[str, Maker] = {
    "floor": Floor,
    "lastword": Lastword,
    "stock": Stock,
    "stock_view": StockWithView,
}
"""By the name under which a process of a crowd is started; the first one is the floor."""

if __name__ == "__main__":
    serve(MAKERS[sys.argv[1]](sys.argv[2]))

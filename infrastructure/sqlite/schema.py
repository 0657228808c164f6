"""The tables, and how a file becomes a store.

The log (`events`) and what belongs to it are changed by numbered steps, each in one transaction. The projection (`runs`,
`run_tags`, `status_counts`) is derived: its columns are never migrated but computed anew when `PROJECTION_VERSION` changes; a step
may make or drop its indexes.
"""

from __future__ import annotations

import sqlite3
from uuid import uuid4

from ...domain.errors import StoreCorrupt, UnsupportedSchema
from ...domain.status import RunStatus
from ...projections.run_view import PROJECTION_VERSION

APPLICATION_ID = 0x4C575244
"""Marks a SQLite file as ours (``PRAGMA application_id``, the letters LWRD)."""

STEPS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE events (
            position INTEGER PRIMARY KEY,
            originator_id TEXT NOT NULL,
            originator_version INTEGER NOT NULL,
            topic TEXT NOT NULL,
            state BLOB NOT NULL,
            event_id BLOB,
            occurred_at INTEGER,
            recorded_at INTEGER,
            actor TEXT,
            correlation_id TEXT,
            int_id INTEGER,
            UNIQUE (originator_id, originator_version)
        )
        """,
        """
        CREATE INDEX events_last_words ON events (position)
        WHERE topic IN ('RunCompleted', 'RunFailed', 'RunCancelled', 'RunLost')
        """,
        "CREATE TABLE owners (id INTEGER PRIMARY KEY, key TEXT NOT NULL, owner TEXT NOT NULL UNIQUE)",
        """
        CREATE TABLE leases (
            owner TEXT PRIMARY KEY,
            host TEXT NOT NULL,
            pid INTEGER NOT NULL,
            renewed_at INTEGER NOT NULL
        ) WITHOUT ROWID
        """,
        "CREATE TABLE outages (since INTEGER PRIMARY KEY, until INTEGER NOT NULL)",
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID",
    ),
    (),  # drops the index of the keys of rows, which may have one of several names
)
"""Step n leads from schema n to schema n + 1. A released step never changes."""

SCHEMA_VERSION = len(STEPS)

PROJECTION_TABLES = ("runs", "run_tags", "status_counts")


def projection(suffix: str = "") -> tuple[str, ...]:
    """The statements that create the projection's tables under names that end with the suffix; `indexes` belong to them.

    Numbers that may be an int or a float, and ids that may be an int or a str, have no declared type, so that SQLite
    keeps them as they are.
    """
    return (
        f"""
        CREATE TABLE runs{suffix} (
            number INTEGER PRIMARY KEY,
            run_key TEXT NOT NULL,
            int_id INTEGER,
            name TEXT NOT NULL,
            status TEXT NOT NULL,
            status_update_failed INTEGER NOT NULL,
            created_at INTEGER NOT NULL,
            started_at INTEGER,
            finished_at INTEGER,
            actor TEXT,
            error_type TEXT,
            error_message TEXT,
            exit_code INTEGER,
            progress_current,
            progress_total,
            current_step TEXT,
            cancel_requested_at INTEGER,
            last_seen_at INTEGER,
            deadline_at INTEGER,
            owner INTEGER,
            parent_id,
            attempt INTEGER NOT NULL,
            retry_of,
            exclusive TEXT,
            lease_seconds REAL NOT NULL,
            tags TEXT,
            params TEXT,
            result TEXT,
            note TEXT,
            correlation_id TEXT,
            contradicted INTEGER NOT NULL,
            version INTEGER NOT NULL,
            position INTEGER NOT NULL
        )
        """,
        f"""
        CREATE UNIQUE INDEX runs_exclusive{suffix} ON runs{suffix} (exclusive)
        WHERE exclusive IS NOT NULL AND status IN ('pending', 'running')
        """,
        f"""
        CREATE TABLE run_tags{suffix} (
            key TEXT NOT NULL,
            value TEXT NOT NULL,
            created_at INTEGER NOT NULL,
            number INTEGER NOT NULL,
            PRIMARY KEY (key, value, created_at, number)
        ) WITHOUT ROWID
        """,
        f"CREATE TABLE status_counts{suffix} (status TEXT PRIMARY KEY, runs INTEGER NOT NULL) WITHOUT ROWID",
    )


def indexes(suffix: str = "") -> tuple[str, ...]:
    """The statements that create the indexes by which runs are listed. Made when the rows are there, their pages are full."""
    return (
        f"CREATE INDEX runs_by_status{suffix} ON runs{suffix} (status, created_at)",
        f"CREATE INDEX runs_by_name{suffix} ON runs{suffix} (name, status, created_at)",
    )


COUNTING = (
    """
    CREATE TRIGGER runs_added AFTER INSERT ON runs BEGIN
        UPDATE status_counts SET runs = runs + 1 WHERE status = new.status;
    END
    """,
    """
    CREATE TRIGGER runs_moved AFTER UPDATE OF status ON runs WHEN new.status <> old.status BEGIN
        UPDATE status_counts SET runs = runs + iif(status = new.status, 1, -1)
        WHERE status IN (new.status, old.status);
    END
    """,
    """
    CREATE TRIGGER runs_removed AFTER DELETE ON runs BEGIN
        UPDATE status_counts SET runs = runs - 1 WHERE status = old.status;
    END
    """,
)
"""Keep `status_counts` in step with `runs`."""


def check_ours(connection: sqlite3.Connection, url: str) -> None:
    """Refuse a file that belongs to somebody else, or that a newer release has written. Changes nothing.

    Raises `StoreCorrupt`, `UnsupportedSchema`.
    """
    application_id, version, tables = _signs(connection)
    if application_id == APPLICATION_ID:
        if version > SCHEMA_VERSION:
            raise UnsupportedSchema(f"store {url}", version, SCHEMA_VERSION)
        return
    if application_id or version or tables:
        found = f"the tables {', '.join(tables)}" if tables else "another application's mark"
        raise StoreCorrupt(
            f"{url}: expected a Lastword store or a new file, found a database of something else with {found};"
            " choose another path (this file was not changed)"
        )


def _signs(connection: sqlite3.Connection) -> tuple[int, int, list[str]]:
    """Mark, version and some tables, as of one moment: another process may be making the store."""
    apart = not connection.in_transaction
    if apart:
        connection.execute("BEGIN")
    try:
        tables = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name LIMIT 4"
        ).fetchall()
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    finally:
        if apart:
            connection.rollback()
    return application_id, version, [name for (name,) in tables]


def is_current(connection: sqlite3.Connection) -> bool:
    """Whether the file is ours and has had all of the steps."""
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return application_id == APPLICATION_ID and version == SCHEMA_VERSION


def migrate(connection: sqlite3.Connection, url: str) -> None:
    """Bring the file to today's schema, one transaction a step; processes that do so at once wait for each other.

    The connection is in autocommit mode. Raises `StoreCorrupt`, `UnsupportedSchema`, and the driver's errors.
    """
    while not is_current(connection):
        connection.execute("BEGIN IMMEDIATE")
        try:
            check_ours(connection, url)
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version < SCHEMA_VERSION:
                _step(connection, version)
            connection.execute("COMMIT")
        except BaseException:
            connection.rollback()
            raise


def _step(connection: sqlite3.Connection, version: int) -> None:
    for statement in STEPS[version]:
        connection.execute(statement)
    if version == 0:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        for statement in (*projection(), *indexes(), *COUNTING):
            connection.execute(statement)
        connection.executemany(
            "INSERT INTO status_counts VALUES (?, 0)", [(status.value,) for status in RunStatus]
        )
        connection.execute("INSERT INTO meta VALUES ('projection', ?)", (PROJECTION_VERSION,))
        connection.execute("INSERT INTO meta VALUES ('store_id', ?)", (str(uuid4()),))
    if version == 1:
        _drop_index_of_keys(connection)
    connection.execute(f"PRAGMA user_version = {version + 1}")


def _drop_index_of_keys(connection: sqlite3.Connection) -> None:
    """The log's own index leads to a row. A rebuild has left the index under the name that it had for its shadow."""
    found = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'index' AND name GLOB 'runs_by_key*'"
    ).fetchall()
    for (name,) in found:
        connection.execute(f'DROP INDEX "{name}"')

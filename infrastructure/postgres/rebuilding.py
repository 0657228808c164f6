"""Computing all rows anew, beside the ones in use, and putting them in place at once.

Runs are folded in order of their key from one snapshot, so that memory stays flat, and copied into shadow tables. Writers wait only at the
end, when the runs that got events meanwhile are folded again and the tables change places.
"""

# ruff: noqa: S608  # statements are put together from names of our own; values are always bound
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any
from uuid import uuid4

from ...domain.errors import StoreUnavailable
from ...domain.events import STORE_KEY
from ...domain.values import Owner
from ...projections.run_view import PROJECTION_VERSION, Fields
from ..logs import get_logger
from ..storing.columns import ROW_COLUMNS
from ..storing.folding import Folder, folded
from .appending import owner_rows
from .connections import Connections
from .counters import horizon
from .links import Link
from .reading import SELECT_EVENTS, run_events
from .rights import check_owner, same_rights
from .rows import event_out, row_of, text_in
from .scanning import streamed
from .schema import INDEXES, LOCK, PROJECTION_TABLES, projection, statements

_CREATED_AT = ROW_COLUMNS.index("created_at")
_BATCH_RUNS = 2_000
"""Runs that are copied at once."""
_PATIENCE_SECONDS = 600.0
"""How long an open waits for another process that rebuilds already."""

log = get_logger("lastword.store")

Progress = Callable[[int, int], None]


class Rebuild:
    """One rebuild of one store. Raises `StoreUnavailable` when another process is at it, or this role may not, `StoreCorrupt` for a bad event."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._suffix = f"_{uuid4().hex[:12]}"
        self._folder = Folder()

    def run(self, progress: Progress | None = None) -> int:
        """Do it; how many rows there are."""
        connections = self._connections
        with connections.held() as link:
            check_owner(link, connections)
            newest = horizon(link, connections)
        with (
            connections.separate() as guard,
            guard.transaction(),
            connections.snapshot() as reader,
            connections.separate(patience=_PATIENCE_SECONDS) as writer,
        ):
            self._alone(guard)
            self._sweep_leftovers(writer)
            for statement in self._placed(projection(self._suffix)):
                writer.execute(statement)
            try:
                self._copy_all(reader, writer, progress)
                for statement in self._placed(INDEXES, suffix=self._suffix):
                    writer.execute(statement)
                reader.execute(b"COMMIT")  # it would keep the tables from being replaced
                with writer.transaction():
                    return self._swap(writer, newest)
            except BaseException:
                self._sweep_leftovers(writer)
                raise

    def _alone(self, link: Link) -> None:
        row = link.execute(
            b"SELECT pg_try_advisory_xact_lock(%s, hashtext(%s))",
            (LOCK + 1, self._connections.address.schema),
        ).fetchone()
        if row is None or not row[0]:
            raise RebuildingError(
                f"{self._connections.url}: expected to rebuild alone, found another rebuild at work; wait for its end"
            )

    def _copy_all(self, reader: Link, writer: Link, progress: Progress | None) -> None:
        sql = self._connections.sql
        row = reader.execute(sql("SELECT count(*) FROM events")).fetchone()
        total, done = (row[0] if row else 0), 0
        events = streamed(
            reader, sql(f"{SELECT_EVENTS} ORDER BY originator_id, originator_version")
        )
        views: list[tuple[int, Fields]] = []
        for key, group in groupby(map(event_out, events), key=lambda event: event[1]):
            rows = list(group)
            done += len(rows)
            if key == STORE_KEY:
                continue
            views += folded(rows, self._folder)
            if len(views) >= _BATCH_RUNS:
                self._put(writer, views)
                views = []
                if progress is not None:
                    progress(done, total)
        self._put(writer, views)
        if progress is not None and total:
            progress(total, total)

    def _put(self, writer: Link, views: Sequence[tuple[int, Fields]]) -> None:
        text_of = self._folder.owner_text
        owners = {text_of(owner): owner for _, fields in views if (owner := fields["owner"])}
        ids = owner_rows(writer, self._connections, owners) if owners else {}

        def owner_id(owner: Owner) -> int:
            return ids[text_of(owner)]

        rows = [row_of(fields, number, owner_id) for number, fields in views]
        self._copy(writer, "runs", ROW_COLUMNS, rows)
        tags = (
            (text_in(key), text_in(value), row[_CREATED_AT], number)
            for row, (number, fields) in zip(rows, views, strict=True)
            for key, value in fields["tags"].items()
        )
        self._copy(writer, "run_tags", ("key", "value", "created_at", "number"), tags)

    def _copy(
        self, writer: Link, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]
    ) -> None:
        statement = f"COPY {self._table(table)} ({', '.join(columns)}) FROM STDIN"
        with writer.cursor() as cursor, cursor.copy(statement.encode()) as copy:
            for row in rows:
                copy.write_row(row)

    def _swap(self, writer: Link, newest: int) -> int:
        connections, sql = self._connections, self._connections.sql
        schema = f'"{connections.address.schema}"'
        writer.execute(
            f"LOCK TABLE {schema}.runs, {schema}.events IN ACCESS EXCLUSIVE MODE".encode()
        )
        late = writer.execute(
            sql("SELECT DISTINCT originator_id FROM events WHERE position > ?"), (newest,)
        ).fetchall()
        for (key,) in late:
            if (
                key == STORE_KEY
            ):  # runs were archived meanwhile; a row's number is the position of its first event
                self._delete(writer, "number NOT IN (SELECT position FROM events)", ())
                continue
            self._delete(writer, "run_key = ?", (key,))
            self._put(writer, list(folded(run_events(writer, connections, key), self._folder)))
        writer.execute(f"DELETE FROM {self._table('status_counts')}".encode())
        counted = "INSERT INTO {} SELECT s.status, (SELECT count(*) FROM {} r WHERE r.status = s.status) FROM {}.status_counts s"
        writer.execute(
            counted.format(self._table("status_counts"), self._table("runs"), schema).encode()
        )
        for table in PROJECTION_TABLES:
            same_rights(writer, self._table(table), f"{schema}.{table}")
            writer.execute(f"DROP TABLE {schema}.{table}".encode())
            writer.execute(f"ALTER TABLE {self._table(table)} RENAME TO {table}".encode())
        names = writer.execute(
            b"SELECT indexname FROM pg_indexes WHERE schemaname = %s AND right(indexname, %s) = %s",
            (connections.address.schema, len(self._suffix), self._suffix),
        ).fetchall()
        for (name,) in names:
            renamed = name.removesuffix(self._suffix)
            writer.execute(f'ALTER INDEX {schema}."{name}" RENAME TO "{renamed}"'.encode())
        writer.execute(
            sql("UPDATE meta SET value = ? WHERE key = 'projection'"), (str(PROJECTION_VERSION),)
        )
        writer.execute(
            sql(
                "UPDATE meta SET value = (SELECT coalesce(max(position), 0) FROM events)::text WHERE key = 'counted'"
            )
        )
        row = writer.execute(sql("SELECT count(*) FROM runs")).fetchone()
        return row[0] if row else 0

    def _delete(self, writer: Link, condition: str, values: Sequence[Any]) -> None:
        gone = self._connections.sql(
            f"DELETE FROM {self._table('run_tags')} WHERE number IN"
            f" (SELECT number FROM {self._table('runs')} WHERE {condition})"
        )
        writer.execute(gone, values)
        writer.execute(
            self._connections.sql(f"DELETE FROM {self._table('runs')} WHERE {condition}"), values
        )

    def _sweep_leftovers(self, writer: Link) -> None:
        """Shadow tables of rebuilds that did not come to their end; nobody else is at work."""
        if writer.closed or writer.broken:
            return
        for name in _shadows(writer, self._connections.address.schema):
            writer.execute(f'DROP TABLE "{self._connections.address.schema}"."{name}"'.encode())

    def _table(self, name: str) -> str:
        return f'"{self._connections.address.schema}".{name}{self._suffix}'

    def _placed(self, texts: tuple[str, ...], suffix: str = "") -> list[bytes]:
        return statements(
            tuple(text.replace("{suffix}", suffix) for text in texts),
            self._connections.address.schema,
        )


class RebuildingError(StoreUnavailable):
    """Another rebuild of the store is at work."""


def _shadows(link: Link, schema: str) -> Iterator[str]:
    rows = link.execute(
        b"SELECT tablename FROM pg_tables WHERE schemaname = %s", (schema,)
    ).fetchall()
    for (name,) in rows:
        base, _, token = name.rpartition("_")
        if base in PROJECTION_TABLES and len(token) == 12:
            yield name


def rebuild_if_outdated(connections: Connections) -> None:
    """Compute the rows anew when another version of the fold made them; one process does it, the others wait."""
    if projection_version(connections) == str(PROJECTION_VERSION):
        return
    with connections.separate(patience=_PATIENCE_SECONDS) as link, link.transaction():
        link.execute(
            b"SELECT pg_advisory_xact_lock(%s, hashtext(%s))",
            (LOCK + 2, connections.address.schema),
        )
        if projection_version(connections) == str(PROJECTION_VERSION):
            return
        log.info("lastword.store.rebuilding", url=connections.url)
        rows = Rebuild(connections).run()
        log.info("lastword.store.rebuilt", url=connections.url, rows=rows)


def projection_version(connections: Connections) -> str | None:
    """The version of the fold that the rows were made with."""
    rows = connections.fetch("SELECT value FROM meta WHERE key = 'projection'")
    return rows[0][0] if rows else None

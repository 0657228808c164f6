"""Making a file into a store, or finding out why it cannot be one.

A file of somebody else is only ever opened for reading, and is left as it was found.
"""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

from ...domain.errors import StoreCorrupt, StoreUnavailable
from .faults import code_of, translated
from .links import connect
from .schema import check_ours, migrate

OLDEST_SQLITE = (3, 35, 0)
"""The first release with RETURNING."""

_SMALLEST = 512
"""Bytes of the smallest SQLite database."""
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_RETRY_SECONDS = 0.01


def check_sqlite(found: tuple[int, ...] = sqlite3.sqlite_version_info) -> None:
    """Refuse a SQLite library that is too old. Raises `StoreUnavailable`.

    >>> check_sqlite((3, 40, 1))
    """
    if found < OLDEST_SQLITE:
        expected = ".".join(map(str, OLDEST_SQLITE))
        raise StoreUnavailable(
            f"SQLite: expected release {expected} or newer, found {'.'.join(map(str, found))};"
            " use a Python that was built with a newer one",
            transient=False,
        )


class Preparation:
    """The way from a path to a store that is ready. `busy_timeout` is in seconds."""

    def __init__(self, path: Path, url: str, busy_timeout: float) -> None:
        self._path = path
        self.url = url
        self._busy_timeout = busy_timeout

    @translated
    def run(self) -> None:
        """Make or check the file.

        Raises `StoreUnavailable` for a path that cannot be used, `StoreCorrupt` for a file of another kind, `UnsupportedSchema`.
        """
        check_sqlite()
        until = time.monotonic() + self._busy_timeout
        while True:
            try:
                if self._has_content():
                    self._look()
                self._set_up()
            except sqlite3.OperationalError as error:
                # Switching to the write-ahead log does not wait for another process that does the same.
                if code_of(error) not in _LOCKED or time.monotonic() > until:
                    raise
                time.sleep(_RETRY_SECONDS)
            else:
                return

    def _has_content(self) -> bool:
        """Whether there is a file with something in it.

        It is not opened here: closing it would drop the locks that SQLite holds on it for other stores of this process.
        """
        path = self._path
        if path.is_dir():
            raise StoreUnavailable(
                f"{self.url}: expected a file, found a folder; name a file in it, e.g. {path.name}/runs.db",
                transient=False,
            )
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            if not path.parent.is_dir():
                raise StoreUnavailable(
                    f"{self.url}: expected the folder {path.parent}, found none;"
                    " create it, or choose another path",
                    transient=False,
                ) from None
            return False
        except NotADirectoryError:
            raise StoreUnavailable(
                f"{self.url}: expected {path.parent} to be a folder, found a file; choose another path",
                transient=False,
            ) from None
        if 0 < size < _SMALLEST:  # SQLite would take it for an empty one
            raise self._of_another_kind()
        return size > 0

    def _look(self) -> None:
        raw = connect(self._path, busy_timeout=self._busy_timeout, mode="ro")
        try:
            check_ours(raw, self.url)
        except sqlite3.OperationalError as error:
            # A log that has to be recovered first needs a connection that may write; it is ours if its tables say so.
            if code_of(error) not in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}:
                raise
        except sqlite3.DatabaseError as error:
            if code_of(error) != sqlite3.SQLITE_NOTADB:
                raise
            raise self._of_another_kind() from error
        finally:
            raw.close()

    def _set_up(self) -> None:
        raw = connect(self._path, busy_timeout=self._busy_timeout, mode="rwc")
        try:
            check_ours(raw, self.url)
            (mode,) = raw.execute("PRAGMA journal_mode").fetchone()
            if mode != "wal" and not _read_only(raw):
                raw.execute("PRAGMA journal_mode = WAL")
            raw.execute("PRAGMA synchronous = FULL")
            migrate(raw, self.url)
        finally:
            raw.close()

    def _of_another_kind(self) -> StoreCorrupt:
        return StoreCorrupt(
            f"{self.url}: expected a Lastword store or a new file, found a file that is no SQLite database;"
            " choose another path (this file was not changed)"
        )


def _read_only(raw: sqlite3.Connection) -> bool:
    (name,) = (row[2] for row in raw.execute("PRAGMA database_list") if row[1] == "main")
    return not os.access(name, os.W_OK)


def prepare_memory(raw: sqlite3.Connection, url: str) -> None:
    """Make the tables in a database in memory."""
    check_sqlite()
    migrate(raw, url)

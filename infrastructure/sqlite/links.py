"""One connection to the file, and what must be true of every one of them."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from threading import RLock

from eventsourcing.sqlite import SQLiteConnection

from ...domain.errors import StoreUnavailable
from .schema import check_ours

PRAGMAS = (
    "PRAGMA synchronous = FULL",  # what was acknowledged is on the disk
    "PRAGMA fullfsync = ON",  # macOS: past the drive's cache, too
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -16000",  # KiB
)
"""What each connection is given; the journal's mode lies in the file itself."""

Identity = tuple[int, int]
"""Device and inode: which file it is, whatever its name."""

_closing = RLock()
"""Held while a connection is closed: of two that are closed at once neither is the last one, and the journal would stay behind."""
_CLOSING_SECONDS = 5.0

INHERITED: list[Link] = []
"""Connections of a parent process. They must be neither used nor closed here, so they are kept from the garbage collector."""


class Link(SQLiteConnection):
    """One open connection, the process that opened it, and the file that it really leads to."""

    def __init__(self, raw: sqlite3.Connection, path: Path | None) -> None:
        super().__init__(raw, max_age=None)
        self.raw = raw
        self.is_closed = False
        """The same as `closed`, which takes longer to ask."""
        self.cursor_for_writing = raw.cursor()
        """For all statements of a transaction that writes; making one for each takes longer."""
        self.lock = RLock()
        """Held while the connection is used, so that nobody closes it meanwhile."""
        self.busy = False
        """True inside a transaction."""
        self.pid = os.getpid()
        self.path = None if path is None else os.fspath(path)
        self.identity = None if path is None else identity_of(path)
        self.patient = True
        """Whether SQLite itself waits for a lock on it, as it was told when the connection was opened."""
        self.newest = -1
        """Position of the last event that was written here, committed or not."""
        self.newest_at = 0
        """Its `recorded_at`, in microseconds."""

    def in_place(self) -> bool:
        """Whether its file is still the one under the path."""
        path = self.path
        if path is None:
            return True
        try:
            status = os.stat(path)  # noqa: PTH116  # as in `identity_of`, which is a call more
        except FileNotFoundError:
            return False
        return (status.st_dev, status.st_ino) == self.identity

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open on it."""
        return not self.closed and self.raw.in_transaction

    def be_patient(self, seconds: float) -> None:
        """Let SQLite wait for locks so long; with 0 the one who asks waits himself."""
        self.raw.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")
        self.patient = seconds > 0

    def check_idle(self) -> None:
        """Refuse a transaction inside a transaction."""
        if self.busy:
            raise RuntimeError("a transaction cannot begin inside another one of its thread")

    def close(self) -> None:
        """Close it, once nobody uses it any more. A parent's connection is put aside instead."""
        if self.pid != os.getpid():
            INHERITED.append(self)
            return
        closing = _closing
        with self.lock, contextlib.suppress(sqlite3.Error):  # closing lets go; nothing is lost
            alone = closing.acquire(timeout=_CLOSING_SECONDS)
            try:
                self.is_closed = True
                self._close()  # not the base class's `close`: its lock and ours would be taken in either order
            finally:
                if alone:
                    closing.release()


def identity_of(path: Path | str) -> Identity:
    """Which file lies under the path."""
    status = os.stat(path)  # noqa: PTH116  # on the path of every append; Path.stat costs twice as much
    return status.st_dev, status.st_ino


def connect(path: Path, *, busy_timeout: float, mode: str = "rw") -> sqlite3.Connection:
    """A bare connection in autocommit mode; `mode` is one of SQLite's: ``ro``, ``rw``, ``rwc``."""
    return sqlite3.connect(
        f"{path.as_uri()}?mode={mode}",
        uri=True,
        timeout=busy_timeout,
        isolation_level=None,
        check_same_thread=False,
    )


def open_link(path: Path, url: str, *, busy_timeout: float) -> Link:
    """A connection to a store that exists already.

    Raises `StoreUnavailable` when it is gone or being replaced, `StoreCorrupt` when something else took its place,
    and the driver's errors.
    """
    before = existing(path, url)
    _mend_companions(path)
    raw = connect(path, busy_timeout=busy_timeout)
    try:
        for pragma in PRAGMAS:
            raw.execute(pragma)
        check_ours(raw, url)
        link = Link(raw, path)
    except BaseException:
        raw.close()
        raise
    if link.identity != before:
        link.close()
        raise gone(url)
    return link


def _mend_companions(path: Path) -> None:
    """Give the journal's files the rights of the database.

    SQLite makes them with the rights that the database has at that moment. If it was read-only then and is not any more, they would
    keep everybody from writing.
    """
    mode = os.stat(path).st_mode & 0o777  # noqa: PTH116  # as below
    for suffix in ("-wal", "-shm"):
        companion = f"{path}{suffix}"
        with contextlib.suppress(
            OSError
        ):  # not there, or not ours: SQLite says what it thinks of that
            if mode & ~os.stat(companion).st_mode & 0o222:  # noqa: PTH116  # a str will do
                os.chmod(companion, mode)  # noqa: PTH101  # as above


def memory_link(busy_timeout: float) -> Link:
    """A connection to a new database in memory."""
    raw = sqlite3.connect(
        ":memory:", timeout=busy_timeout, isolation_level=None, check_same_thread=False
    )
    for pragma in PRAGMAS:
        raw.execute(pragma)
    return Link(raw, None)


def existing(path: Path, url: str) -> Identity:
    """Which file lies under the path. Raises `StoreUnavailable` when there is none."""
    try:
        return identity_of(path)
    except FileNotFoundError as error:
        raise gone(url) from error


def _after_fork_in_child() -> None:
    global _closing  # noqa: PLW0603  # a thread that does not exist here may have held it
    _closing = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def gone(url: str) -> StoreUnavailable:
    """For a file that was removed or replaced while the store was open."""
    return StoreUnavailable(
        f"{url}: expected the file that was opened, found it removed or replaced;"
        " put it back, or open the store again to begin a new one"
    )

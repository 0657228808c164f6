"""What SQLite's errors mean to callers; the one place where they are translated.

locked, busy, I/O error, disk full, out of memory      StoreUnavailable, worth another try in a moment
read-only, cannot open, no permission, closed          StoreUnavailable, not worth another try as it is
not a database, damaged, tables missing                StoreCorrupt
a number or a text that SQLite cannot hold             InvalidInput
"""

from __future__ import annotations

import sqlite3

from ...domain.errors import InvalidInput, LastwordError, StoreCorrupt, StoreUnavailable
from ..storing.faults import Translated, closed, driver_error

_WAITABLE = {
    sqlite3.SQLITE_BUSY: "another connection kept its lock",
    sqlite3.SQLITE_LOCKED: "another connection kept its lock",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "reading or writing the file failed",
    sqlite3.SQLITE_NOMEM: "memory ran out",
    sqlite3.SQLITE_INTERRUPT: "it was interrupted",
    sqlite3.SQLITE_PROTOCOL: "the file's locks did not settle",
    sqlite3.SQLITE_SCHEMA: "the tables changed meanwhile",
}
_REMEDY = {
    sqlite3.SQLITE_BUSY: "try again; if it lasts, look for a process that holds a transaction open",
    sqlite3.SQLITE_LOCKED: "try again; if it lasts, look for a process that holds a transaction open",
    sqlite3.SQLITE_FULL: "make room on its file system and try again",
    sqlite3.SQLITE_IOERR: "check its disk or its mount and try again",
}
_REFUSED = {
    sqlite3.SQLITE_READONLY: (
        "it can only be read",
        "give this user write permission for it and its folder",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        "it cannot be opened",
        "check that it and its folder exist and may be written",
    ),
    sqlite3.SQLITE_PERM: ("access was denied", "give this user permission for it and its folder"),
    sqlite3.SQLITE_AUTH: ("access was denied", "give this user permission for it and its folder"),
}
_DAMAGED = {
    sqlite3.SQLITE_NOTADB: "a file that is no SQLite database",
    sqlite3.SQLITE_CORRUPT: "a damaged database",
}
_LASTING = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CONSTRAINT}
"""Primary codes after which the connection is as good as before."""


def code_of(error: BaseException) -> int:
    """SQLite's primary result code; 0 when the error carries none.

    >>> code_of(ValueError())
    0
    """
    code = getattr(error, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else 0


def spoils_connection(error: BaseException) -> bool:
    """True when the connection had better be opened anew."""
    return isinstance(error, sqlite3.Error) and code_of(error) not in _LASTING


def is_busy(error: BaseException) -> bool:
    """True when another connection has the lock."""
    return code_of(error) == sqlite3.SQLITE_BUSY


def cannot_write(error: BaseException) -> bool:
    """True when the file, or what belongs to it, can only be read."""
    return isinstance(error, sqlite3.Error) and code_of(error) == sqlite3.SQLITE_READONLY


def translate(error: BaseException, url: str) -> LastwordError:
    """What to raise instead of an error of the driver or of the eventsourcing library.

    >>> type(translate(sqlite3.OperationalError("no such table: runs"), "sqlite:///runs.db")).__name__
    'StoreCorrupt'
    """
    error = driver_error(error)
    code = code_of(error)
    if code in _WAITABLE:
        remedy = _REMEDY.get(code, "try again")
        return StoreUnavailable(
            f"{url}: expected an answer, found that {_WAITABLE[code]} ({error}); {remedy}"
        )
    if code in _REFUSED:
        found, remedy = _REFUSED[code]
        moved = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_READONLY_DBMOVED
        return StoreUnavailable(
            f"{url}: expected a file to read and write, found that {found} ({error}); {remedy}",
            transient=moved,
        )
    if code in _DAMAGED:
        return StoreCorrupt(
            f"{url}: expected a Lastword store, found {_DAMAGED[code]} ({error});"
            " move it away and restore a backup"
        )
    if isinstance(error, OverflowError | UnicodeEncodeError) or code == sqlite3.SQLITE_TOOBIG:
        return InvalidInput(
            f"{url}: expected values that SQLite can hold, found one that it cannot ({error});"
            " use a smaller number or a shorter text"
        )
    if isinstance(error, sqlite3.ProgrammingError) and "closed" in str(error):
        return closed(url)
    if isinstance(error, OSError):
        return StoreUnavailable(
            f"{url}: expected to reach the file, found {error}; check its folder and its permissions",
            transient=not isinstance(error, PermissionError),
        )
    return StoreCorrupt(
        f"{url}: expected a Lastword store, found one that does not take its statements ({error});"
        " see `lastword verify`, or restore a backup"
    )


translated = Translated((sqlite3.Error,), translate)
"""Lets no error of the driver or the library leave the method of a store."""

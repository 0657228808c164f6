"""What PostgreSQL's errors mean to callers; the one place where they are translated.

connection lost, shutting down, starting up, too many connections   StoreUnavailable, worth another try in a moment
serialization, deadlock, lock or statement timeout, cancelled       StoreUnavailable, worth another try in a moment
read-only (after a failover), disk full, out of memory, I/O error   StoreUnavailable, worth another try in a moment
no such database, role or right, wrong password                     StoreUnavailable, not worth another try as it is
tables or columns missing, damaged pages                            StoreCorrupt
a text or a number that PostgreSQL cannot hold                      InvalidInput
"""

from __future__ import annotations

import psycopg

from ...domain.errors import InvalidInput, LastwordError, StoreCorrupt, StoreUnavailable
from ..storing.faults import Translated, driver_error

_PASSING = {
    "08": ("the connection was lost", "try again"),
    "40": ("other transactions were in the way", "try again"),
    "53": ("the server has run out of something", "make room and try again"),
    "55P03": (
        "a lock was not free in time",
        "try again; if it lasts, look for a transaction that stays open",
    ),
    "57": ("the server ended the work", "try again"),
    "58": ("the server could not read or write", "check its disk and try again"),
    "25006": ("it can only be read", "try again; after a failover, name the new primary"),
    "26000": ("a pooler gave the connection to somebody else", "add prepare=off to the URL"),
    "42P05": ("a pooler gave the connection to somebody else", "add prepare=off to the URL"),
    "0A000": ("the tables changed meanwhile", "try again"),
    "55000": ("the tables changed meanwhile", "try again"),
}
"""By SQLSTATE, or by its class: what was found, and the remedy."""
_REFUSED = {
    "28": ("the server did not let this role in", "check role and password in the URL"),
    "3D000": ("there is no such database", "create it, or name another"),
    "42501": ("this role lacks a right", "let its owner grant it; docs/how-to has the statements"),
}
_DAMAGED = {
    "42P01": "a table that is missing",
    "42703": "a column that is missing",
    "42883": "a function that is missing",
    "3F000": "a schema that is missing",
    "XX001": "damaged data",
    "XX002": "a damaged index",
}
_UNHOLDABLE = ("22", "54")
_OF_ONE = ("22", "23", "40", "42", "54", "55", "XX")
_AT_THE_DOOR = {
    "password authentication failed": "28",
    "no pg_hba.conf entry": "28",
    "no password supplied": "28",
    "certificate authentication failed": "28",
    "is not permitted to log in": "28",
    'role "': "28",
    'database "': "3D000",
}
"""What the server says to those whom it does not let in; the driver tells no SQLSTATE then."""

PREPARED = ("26000", "42P05")
"""A prepared statement is gone, or is there already: there is a pooler that hands connections on after each transaction."""


def code_of(error: BaseException) -> str:
    """The SQLSTATE; empty when the server was not reached.

    >>> code_of(psycopg.errors.DeadlockDetected())
    '40P01'
    """
    code = getattr(error, "sqlstate", None)
    if code:
        return str(code)
    if isinstance(error, psycopg.OperationalError):
        said = str(error)
        for words, found in _AT_THE_DOOR.items():
            if words in said and ("does not exist" in said or not words.endswith('"')):
                return found
    return ""


def spoils_connection(error: BaseException) -> bool:
    """True when the connection had better be opened anew: it was lost, the server may still be at work for it, or its session may have kept
    the lock under which positions are taken. After a constraint was hurt none of these can be.
    """
    return isinstance(error, psycopg.Error) and not isinstance(error, psycopg.IntegrityError)


def is_of_one(error: psycopg.Error) -> bool:
    """True when the server rolled several steps back because of one of them: its values, its row, or a lock that somebody else has."""
    code = code_of(error)
    return code[:2] in _OF_ONE and code not in PREPARED


def translate(error: BaseException, url: str) -> LastwordError:
    """What to raise instead of an error of the driver or of the eventsourcing library.

    >>> translate(psycopg.errors.AdminShutdown("terminating"), "postgresql://db/runs").transient
    True
    """
    error = driver_error(error)
    code = code_of(error)
    said = " ".join(str(error).split()) or type(error).__name__
    refused = _REFUSED.get(code) or _REFUSED.get(code[:2])
    if refused is not None:
        return StoreUnavailable(
            f"{url}: expected to work with the store, found that {refused[0]} ({said}); {refused[1]}",
            transient=False,
        )
    if code in _DAMAGED:
        return StoreCorrupt(
            f"{url}: expected a Lastword store, found {_DAMAGED[code]} ({said}); restore a backup"
        )
    passing = _PASSING.get(code) or _PASSING.get(code[:2])
    if passing is not None:
        return StoreUnavailable(
            f"{url}: expected an answer, found that {passing[0]} ({said}); {passing[1]}"
        )
    if code.startswith(_UNHOLDABLE) or isinstance(
        error, psycopg.DataError | OverflowError | UnicodeEncodeError
    ):
        return InvalidInput(
            f"{url}: expected values that PostgreSQL can hold, found one that it cannot ({said});"
            " use a smaller number or a shorter text"
        )
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError | OSError) and not code:
        return StoreUnavailable(
            f"{url}: expected an answer, found that the server was not reached, or the connection was lost ({said});"
            " check that it runs and try again"
        )
    return StoreCorrupt(
        f"{url}: expected a Lastword store, found one that does not take its statements ({said});"
        " see `lastword verify`, or restore a backup"
    )


translated = Translated((psycopg.Error,), translate)
"""Lets no error of the driver or the library leave the method of a store."""

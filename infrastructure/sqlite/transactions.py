"""A transaction on one connection: how it begins, waits for its turn, and ends."""

from __future__ import annotations

import contextlib
import sqlite3
from time import monotonic, sleep
from types import TracebackType
from typing import TYPE_CHECKING

from eventsourcing import persistence
from eventsourcing.sqlite import SQLiteCursor

from ...domain.errors import StoreUnavailable
from .faults import cannot_write, is_busy, spoils_connection
from .links import Link, gone

if TYPE_CHECKING:
    from .datastore import ThreadDatastore

_FIRST_SLEEP, _LONGEST_SLEEP, _SHORTEST_SLEEP = 0.002, 0.006, 0.0002
"""Seconds between two looks at a lock that another process has. The first is made soon: mostly the lock is free then."""
_HURRY = 0.28
"""By so much of what one has waited the next sleep is shorter: the shortest one is reached after 21 ms."""


class Transaction:
    """A transaction, by `begin` and `end`, or as a context manager that gives the library's cursor.

    `has_turn` says that the thread holds the lock of writers already, and keeps it. The driver's errors leave it as the library's, each with
    the driver's own as its cause.
    """

    __slots__ = ("_commit", "_datastore", "_has_turn", "_link")

    def __init__(
        self,
        datastore: ThreadDatastore,
        link: Link | None = None,
        *,
        commit: bool,
        has_turn: bool = False,
    ) -> None:
        self._datastore = datastore
        self._link = link
        self._commit = commit
        self._has_turn = has_turn

    @property
    def link(self) -> Link:
        """The connection it runs on, once it has begun."""
        assert self._link is not None  # noqa: S101  # `begin` has set it
        return self._link

    def __enter__(self) -> SQLiteCursor:
        return self.begin().cursor()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end(error)

    def begin(self) -> Link:
        """Begin it; the connection. With `commit` it has the write lock from now on."""
        datastore = self._datastore
        commit = self._commit
        if (
            commit
            and not self._has_turn
            and not datastore.writing.acquire(blocking=True, timeout=datastore.busy_timeout)
        ):
            raise waited_for_another_thread(datastore)
        link = self._link
        try:
            if link is None:
                link = self._link = datastore.held_link(checked=not commit)
            else:
                link.lock.acquire()
        except BaseException:
            self._pass_on()
            raise
        try:
            if link.busy:
                link.check_idle()
            if link.raw.in_transaction:  # one that an interrupt left behind
                link.raw.rollback()
            if commit:
                begin_writing(link, datastore.busy_timeout)
            else:
                if not link.patient:
                    link.be_patient(datastore.busy_timeout)
                link.raw.execute("BEGIN")
            link.busy = True
        except BaseException as error:
            self._leave(link, error)
            if isinstance(error, sqlite3.Error):
                raise as_library_error(error) from error
            raise
        return link

    def clear(self, error: BaseException) -> None:
        """After `end` was interrupted by the error: nothing stays open or held. Without effect where `end` had come to its end."""
        if self.link.busy:
            self.end(error)
        elif not isinstance(error, Exception):
            with contextlib.suppress(RuntimeError):  # it is not held any more
                self.link.lock.release()
            with contextlib.suppress(RuntimeError):
                self._pass_on()

    def end(self, error: BaseException | None = None) -> None:
        """Commit it, or roll it back: after an error, or when nothing was to be written."""
        link = self.link
        link.busy = False
        commit = self._commit
        try:
            if error is None and commit:
                link.cursor_for_writing.execute("COMMIT")
            else:
                link.newest = -1
                link.raw.rollback()
        except sqlite3.Error as failed:
            link.newest = -1
            error = error or failed
        if commit and not link.in_place():
            # It went to a file that nobody will read, or was decided on one.
            self._leave(link, error)
            self._datastore.discard(link)
            raise gone(self._datastore.url) from error
        if error is None:
            link.lock.release()
            if commit and not self._has_turn:
                self._datastore.writing.release()
            return
        self._leave(link, error)
        if isinstance(error, sqlite3.Error):
            raise as_library_error(error) from error

    def _leave(self, link: Link, error: BaseException | None) -> None:
        if not link.busy and link.in_transaction:  # neither committed nor rolled back
            with contextlib.suppress(sqlite3.Error):
                link.raw.rollback()
        if error is not None and spoils_connection(error):
            self._datastore.discard(link)
        link.lock.release()
        self._pass_on()
        if error is not None and cannot_write(error):
            self._datastore.let_go()

    def _pass_on(self) -> None:
        if self._commit and not self._has_turn:
            self._datastore.writing.release()


def begin_writing(link: Link, timeout: float) -> None:
    """Begin a transaction that has the write lock, waiting for it at most `timeout` seconds.

    SQLite's own waiting sleeps longer and longer, so that who has waited long waits on while others fly. Here it is the other way round: the
    longer one waits, the oftener one looks. Raises the driver's error of a lock.
    """
    if link.patient and link.path is not None:
        link.be_patient(0)
    began = 0.0
    while True:
        try:
            link.cursor_for_writing.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            now = monotonic()
            began = began or now
            waited = now - began
            if waited >= timeout or not is_busy(error):
                raise
        else:
            return
        if waited:
            sleep(max(_LONGEST_SLEEP - waited * _HURRY, _SHORTEST_SLEEP))
        else:
            sleep(_FIRST_SLEEP)


def waited_for_another_thread(datastore: ThreadDatastore) -> StoreUnavailable:
    """For a thread whose turn did not come in time."""
    return StoreUnavailable(
        f"{datastore.url}: expected to write within {datastore.busy_timeout:g} s, found another thread of this"
        " process writing, or waiting for the lock of another process; try again"
    )


def as_library_error(error: sqlite3.Error) -> persistence.PersistenceError:
    for kind in type(error).__mro__:
        counterpart = getattr(persistence, kind.__name__, None)
        if counterpart is not None and issubclass(counterpart, persistence.PersistenceError):
            return counterpart(error)
    return persistence.PersistenceError(error)

"""Connections and transactions: one connection per thread, writers one at a time, nothing shared with a forked child.

The library's pool is not used. It hands connections from thread to thread, is not safe over a fork, and lets readers wait
behind writers. Here each thread has a connection of its own (`Link`), which is closed when the thread ends. Before a fork,
all connections are closed: SQLite keeps its locks per process and file, so that a child which opened the file beside an
inherited connection would believe in locks that it does not hold.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Any

from eventsourcing import persistence
from eventsourcing.sqlite import SQLiteCursor, SQLiteDatastore

from ...domain.errors import StoreUnavailable
from ..storing.bell import Bell
from ..storing.faults import closed
from .faults import cannot_write, is_busy, spoils_connection
from .links import INHERITED, Identity, Link, gone, memory_link, open_link
from .turns import Turns

_LIVE: weakref.WeakSet[ThreadDatastore] = weakref.WeakSet()
"""Every datastore of this process that is not closed; for the fork hooks."""

_FORKING: list[ThreadDatastore] = []
"""Those that a fork is holding still."""


_LONGEST_SLEEP, _SHORTEST_SLEEP = 0.002, 0.0004
"""Seconds between two looks at a lock that another process has."""
_HURRY = 0.08
"""By so much of what one has waited the next sleep is shorter: the shortest one is reached after 15 ms."""


class _ThreadEnd:
    """Lies in the thread's local storage and dies with the thread."""

    __slots__ = ("__weakref__",)


class ThreadDatastore(SQLiteDatastore):
    """The datastore of the eventsourcing library, with a connection per thread.

    `path` is None for a store in memory: one connection for all threads, behind one lock. `busy_timeout` is in seconds.
    """

    def __init__(
        self,
        path: Path | None,
        url: str,
        *,
        busy_timeout: float = 5.0,
        originator_id_type: str = "text",
    ) -> None:
        # The base class's __init__ would make a pool; these two are what its recorders read.
        self.single_row_tracking = True
        self.originator_id_type = "uuid" if originator_id_type == "uuid" else "text"
        self.path = path
        self.url = url
        self.busy_timeout = busy_timeout
        self.bell = Bell()
        self.closed = False
        self._pid = os.getpid()
        self.owner_ids: dict[str, int] = {}
        """Rows of `owners` that are committed in the file, by their JSON; another dict when the file is another one."""
        self._identity: Identity | None = None
        self._links: set[Link] = set()
        self._reset_locks()
        self._memory = memory_link(busy_timeout) if path is None else None
        _LIVE.add(self)

    def _reset_locks(self) -> None:
        self.writing = Turns()
        """Held by the thread that writes."""
        self._gate = threading.Lock()
        """Held while a connection is opened, and over a fork."""
        self._local = threading.local()

    # -- connections

    def link(self) -> Link:
        """This thread's connection, opened when need be, to the file that lies under the path now.

        Raises `StoreUnavailable` when the file is gone or the store was closed, and the driver's errors.
        """
        link = self._own_link()
        if link.in_place():
            return link
        self.discard(link)
        return self._open()

    def _own_link(self) -> Link:
        if self.closed:
            raise closed(self.url)
        if self._memory is not None:
            if self._pid != os.getpid():
                raise StoreUnavailable(
                    f"{self.url}: expected the process that made it, found a forked child;"
                    " use a file for runs that several processes share",
                    transient=False,
                )
            return self._memory
        link: Link | None = getattr(self._local, "link", None)
        if link is None or link.closed or link.pid != os.getpid():
            return self._open()  # what was there is retired with its mark
        return link

    def _open(self) -> Link:
        link = self.separate_link()
        end = _ThreadEnd()
        weakref.finalize(end, _retire, link, self._links)
        self._local.link, self._local.end = link, end
        return link

    def separate_link(self) -> Link:
        """A new connection to the file, for the caller to `discard`; a store in memory has none.

        It is closed with the store and before a fork. Raises `StoreUnavailable` and the driver's errors.
        """
        assert self.path is not None  # noqa: S101  # the callers ask first
        with self._gate:
            if self.closed:
                raise closed(self.url)
            link = open_link(self.path, self.url, busy_timeout=self.busy_timeout)
            self._links.add(link)
            if link.identity != self._identity:
                self._identity, self.owner_ids = link.identity, {}
        return link

    def held_link(self, *, checked: bool = True) -> Link:
        """This thread's connection with its lock taken; the caller releases it.

        `checked=False` is for writers, who look at the file after the commit.
        """
        while True:
            link = self.link() if checked else self._own_link()
            link.lock.acquire()
            if not link.closed:
                return link
            link.lock.release()  # a fork closed it in between

    def discard(self, link: Link) -> None:
        """Close a connection that is of no use any more; the next one who asks gets a new one."""
        if link is not self._memory:
            self._links.discard(link)
            link.close()

    @property
    def in_memory(self) -> bool:
        """Whether the database goes when the store is closed."""
        return self._memory is not None

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return sum(not link.closed for link in list(self._links)) + (self._memory is not None)

    # -- reading and writing

    def fetch(self, statement: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """All rows of one statement that reads. No lock keeps writers waiting meanwhile."""
        link = self.held_link()
        try:
            try:
                return link.raw.execute(statement, parameters).fetchall()
            except sqlite3.OperationalError as error:
                if link.patient or not is_busy(error):
                    raise
                link.be_patient(self.busy_timeout)  # rare: somebody recovers the file
                return link.raw.execute(statement, parameters).fetchall()
        except sqlite3.Error as error:
            if spoils_connection(error):
                self.discard(link)
            raise
        finally:
            link.lock.release()

    def transaction(self, *, commit: bool, link: Link | None = None) -> Transaction:  # type: ignore[override]  # a context manager, too
        """A transaction on this thread's connection, or on a given one. With `commit` it has the write lock from the start."""
        return Transaction(self, link, commit=commit)

    @contextlib.contextmanager
    def get_connection(self, *, commit: bool) -> Iterator[Link]:  # the base class's signature
        """This thread's connection."""
        yield self.link()

    def close(self) -> None:
        """Close all connections, whichever thread they belong to."""
        if getattr(
            self, "closed", True
        ):  # also when __init__ failed: the base class calls this from __del__
            return
        self.closed = True
        self.bell.ring()
        with self._gate:
            for link in list(self._links):
                self.discard(link)
        if self._memory is not None:
            self._memory.close()
        _LIVE.discard(self)

    def let_go(self) -> None:
        """Close every connection that is idle; the next one who asks gets a new one.

        SQLite shares what it knows of a file between the connections of a process. If the file was read-only when the first of them was
        opened, it stays so for all, also when it may be written again, until the last one is closed.
        """
        if not self.in_memory:
            self.before_fork()
            self.after_fork_in_parent()

    # -- forks

    def before_fork(self) -> None:
        """Let no connection into the child. Other threads open new ones after the fork."""
        self._gate.acquire()
        for link in list(self._links):
            if link.lock.acquire(timeout=self.busy_timeout + 1):
                try:
                    if not link.in_transaction:
                        self.discard(link)
                finally:
                    link.lock.release()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._gate.release()

    def after_fork_in_child(self) -> None:
        """Forget what belongs to the parent; its threads, which may have held locks, do not exist here."""
        INHERITED.extend(self._links)
        self._links = set()
        self._reset_locks()
        self.bell = Bell()


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
        has_turn = self._has_turn or not self._commit
        if not has_turn and not datastore.writing.acquire(timeout=datastore.busy_timeout):
            raise waited_for_another_thread(datastore)
        link = self._link
        try:
            if link is None:
                link = self._link = datastore.held_link(checked=not self._commit)
            else:
                link.lock.acquire()
        except BaseException:
            self._pass_on()
            raise
        try:
            link.check_idle()
            if link.raw.in_transaction:  # one that an interrupt left behind
                link.raw.rollback()
            if self._commit:
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

    def end(self, error: BaseException | None = None) -> None:
        """Commit it, or roll it back: after an error, or when nothing was to be written."""
        link = self.link
        link.busy = False
        try:
            if error is None and self._commit:
                link.raw.execute("COMMIT")
            else:
                link.newest = -1
                link.raw.rollback()
        except sqlite3.Error as failed:
            link.newest = -1
            error = error or failed
        if (
            self._commit and not link.in_place()
        ):  # it went to a file that nobody will read, or was decided on one
            self._leave(link, error)
            self._datastore.discard(link)
            raise gone(self._datastore.url) from error
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
            link.raw.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            now = monotonic()
            began = began or now
            waited = now - began
            if waited >= timeout or not is_busy(error):
                raise
        else:
            return
        sleep(max(_LONGEST_SLEEP - waited * _HURRY, _SHORTEST_SLEEP))


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


def _retire(link: Link, links: set[Link]) -> None:
    links.discard(link)
    link.close()


def _before_fork() -> None:
    for datastore in list(_LIVE):
        _FORKING.append(datastore)
        datastore.before_fork()


def _after_fork_in_parent() -> None:
    while _FORKING:
        _FORKING.pop().after_fork_in_parent()


def _after_fork_in_child() -> None:
    while _FORKING:
        _FORKING.pop().after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )

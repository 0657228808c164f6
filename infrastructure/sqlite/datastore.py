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
from typing import TYPE_CHECKING, Any

from eventsourcing.sqlite import SQLiteDatastore

from ...domain.errors import StoreUnavailable
from ..storing.bell import Bell
from ..storing.faults import closed
from ..storing.sharing import Turn
from .faults import is_busy, spoils_connection
from .links import INHERITED, Identity, Link, memory_link, open_link
from .transactions import Transaction

if TYPE_CHECKING:
    from .grouping import Waiting

_LIVE: weakref.WeakSet[ThreadDatastore] = weakref.WeakSet()
"""Every datastore of this process that is not closed; for the fork hooks."""

_FORKING: list[ThreadDatastore] = []
"""Those that a fork is holding still."""


class _OfThread(threading.local):
    """What a thread has of its own."""

    link: Link | None = None
    end: _ThreadEnd | None = None


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
        self.writing: Turn[Waiting] = Turn()
        """Held by the thread that writes."""
        self._gate = threading.Lock()
        """Held while a connection is opened, and over a fork."""
        self._local = _OfThread()

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
        link = self._local.link
        if link is None or link.closed or link.pid != os.getpid():  # a fork need not tell Python
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
            link = None if checked or self.closed else self._local.link
            if link is None or link.is_closed or link.pid != os.getpid():
                link = self.link() if checked else self._own_link()
            link.lock.acquire()
            if not link.is_closed:
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

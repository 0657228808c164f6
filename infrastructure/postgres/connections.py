"""A few connections for many threads, none of which ever crosses a fork.

The driver's own pool is not used: its threads do not survive a fork, and who asks it for a connection while the server is away waits for
a timeout instead of hearing why. Here the thread that needs a connection opens it, and hears what the server says. One that lay idle is
looked at before it is used again: what the server says to an idle connection is that it is over.

A server may give fewer connections than the pool would take. That is no fault of the store: who is refused waits for the next one that another
thread gives back, and only where no other has one it is an error.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import tuple_row

from ...domain.errors import StoreUnavailable
from ..logs import get_logger
from ..storing.bell import Bell
from ..storing.faults import closed
from .address import Address
from .clock import ServerClock
from .faults import PREPARED, code_of, spoils_connection
from .links import Held, Link
from .statements import placed
from .turns import SharedTurn

if TYPE_CHECKING:
    from .appending import Step
    from .waiting import Listener

log = get_logger("lastword.store")

_LIVE: weakref.WeakSet[Connections] = weakref.WeakSet()
"""Those of this process that are not closed; for the fork hook."""

INHERITED: list[object] = []
"""Connections of a parent process. Closing them here would end the parent's sessions, so they are kept from the garbage collector."""

_IDLE = psycopg.pq.TransactionStatus.IDLE
UNPREPARED = (
    psycopg.errors.InvalidSqlStatementName,
    psycopg.errors.DuplicatePreparedStatement,
)
READ_SECONDS = 15.0
"""How long a statement that reads may take; one that appends has the store's own patience."""
_PREPARE_AFTER = 3
"""A statement is prepared once a connection has executed it so often."""
FULL_SECONDS = 10.0
"""For so long a server that gave no further connection is not asked for one, as long as there are others here."""


Place = SimpleQueue[Link | None]
"""Where one thread gets a connection of another one, or None."""


class Connections:
    """The connections of one store. `patience`, in seconds, is how long one statement, or the wait for a free connection, may take."""

    def __init__(self, address: Address, *, patience: float) -> None:
        self.address = address
        self.url = address.url
        self.patience = patience
        self.closed = False
        self.bell = Bell()
        self.clock = ServerClock()
        self.owner_ids: dict[str, int] = {}
        """Rows of `owners` that are known to be committed, by their JSON."""
        self.listener: Listener | None = None
        """Hears of other processes; there once somebody waits."""
        self.pooled = True
        """Whether a pooler may be between here and the server, so that a session does not end with its connection; known when the server has been looked at."""
        self.prepares = bool(address.prepare)
        """Whether statements are prepared; set when the server has been looked at, and not once a pooler has lost one."""
        self._links: set[Link] = set()
        self._reset()
        _LIVE.add(self)

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        # As a semaphore; Python's own is several times as slow.
        self._free: SimpleQueue[None] = SimpleQueue()
        for _ in range(self.address.pool_size):
            self._free.put(None)
        self._idle: list[Link] = []
        self._lent = 0
        """Connections that threads have taken and not given back."""
        self._places: deque[Place] = deque()
        """Of threads that wait for one of those: each gets it, or None when one was closed instead."""
        self._full: tuple[float, str] | None = None
        """When the server last gave no further connection, and what it said; None: it gave one since, or was not asked."""
        self.turn: SharedTurn[Step] = SharedTurn(self.address.pool_size)
        """Of the threads that append for others, too."""

    # -- taking and giving back

    def held(self, patience: float = READ_SECONDS) -> Held:
        """One of the connections, for this thread alone, as a context manager; each of its statements may take `patience` seconds.

        Raises `StoreUnavailable` when the store is closed or all are busy for too long, and the driver's errors.
        """
        return Held(self, patience)

    def take(self) -> tuple[Link, SimpleQueue[None]]:
        """A connection, and where the right to it goes back to. See `held`."""
        if self.closed:
            raise closed(self.url)
        free = self._free
        try:
            free.get(timeout=self.patience)
        except Empty:
            raise self._all_in_use() from None
        try:
            return self._idle_link() or self._another(), free
        except BaseException:
            free.put(None)
            raise

    def _all_in_use(self) -> StoreUnavailable:
        return StoreUnavailable(
            f"{self.url}: expected a free connection within {self.patience:g} s, found all {self.address.pool_size}"
            " in use; try again, or raise pool_size in the URL"
        )

    def give_back(self, link: Link, error: BaseException | None) -> None:
        """After its use; what happened to it says whether it is used again."""
        is_good = False
        try:
            is_good = self._is_told_the_time(link) if error is None else self._survives(error)
        finally:
            if not (is_good and self._give_back(link)):
                self.discard(link)
                self._is_gone()

    def _survives(self, error: BaseException) -> bool:
        """Whether a connection may be used after this."""
        if code_of(error) in PREPARED:
            self.prepare_no_more()
            return False
        return isinstance(error, Exception) and not spoils_connection(error)

    def _is_told_the_time(self, link: Link) -> bool:
        """Ask the server for it now and then; False when the connection is of no use any more. What it was used for is done all the same."""
        try:
            if not self.clock.is_fresh and link.pgconn.transaction_status == _IDLE:
                self.clock.set(link)
        except psycopg.Error as error:
            log.debug("lastword.store.clock_not_read", error=str(error))
            return False
        return True

    @contextlib.contextmanager
    def separate(self, *, patience: float | None = None) -> Iterator[Link]:
        """A connection of its own, beside the others; closed afterwards."""
        if self.closed:
            raise closed(self.url)
        link = self.open_link(patience=patience)
        try:
            yield link
        except UNPREPARED:
            self.prepare_no_more()
            raise
        finally:
            self.discard(link)

    def open_link(self, *, patience: float | None = None) -> Link:
        """A new connection. Raises the driver's errors."""
        link = Link.connect(
            self.address.conninfo,
            autocommit=True,
            row_factory=tuple_row,
            prepare_threshold=_PREPARE_AFTER if self.prepares else None,
            client_encoding="UTF8",  # what `quick` writes
        )
        link.patience = self.patience if patience is None else patience
        with self._lock:
            self._links.add(link)
        return link

    def prepare_no_more(self) -> None:
        """A prepared statement got lost: there is a pooler in between, which keeps none."""
        self.prepares = False
        with self._lock:
            for link in self._links:
                link.prepare_threshold = None

    def discard(self, link: Link) -> None:
        """Close a connection that is of no use any more."""
        with self._lock:
            self._links.discard(link)
        with contextlib.suppress(psycopg.Error, OSError):
            link.close()

    def _idle_link(self) -> Link | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                link = self._idle.pop()
                self._lent += 1
            if not link.is_over():
                return link
            self.discard(link)
            self._is_gone()

    def _another(self) -> Link:
        """A new connection; if the server gives none, the next one that another thread gives back. Raises what the server said."""
        ends = monotonic() + self.patience
        while not self.closed:
            refused: psycopg.OperationalError | None = None
            if self._asks_for_more():
                try:
                    link = self.open_link()
                except psycopg.OperationalError as error:
                    refused = error
                else:
                    self._got_more()
                    return link
            place = self._wait_for_one(refused)
            if place is not None:
                try:
                    found = place.get(timeout=max(ends - monotonic(), 0))
                except Empty:
                    found = self._leave(place)
                except (
                    BaseException
                ) as error:  # a place that nobody looks at would swallow what is put there
                    if (link := self._leave(place)) is not None:
                        self.give_back(link, error)
                    raise
                if found is not None:
                    return found
                if monotonic() >= ends:
                    raise self._too_few()
        raise closed(self.url)

    def _asks_for_more(self) -> bool:
        full = self._full
        return full is None or not self._lent or monotonic() - full[0] >= FULL_SECONDS

    def _got_more(self) -> None:
        with self._lock:
            self._lent += 1
        self._full = None
        self.turn.most = self.address.pool_size

    def _wait_for_one(self, refused: psycopg.OperationalError | None) -> Place | None:
        """Where it will come; None when it is worth another try at once. Raises `refused` when no thread has one."""
        place: Place = SimpleQueue()
        with self._lock:
            if self._idle:
                place.put(self._idle.pop())
                self._lent += 1
                return place
            if not self._lent:
                if refused is not None:
                    raise refused
                return None
            self._places.append(place)
            if refused is None:
                return place
            is_known, self._full = self._full is not None, (monotonic(), str(refused))
            self.turn.most = lent = self._lent
        if not is_known:
            log.warning(
                "lastword.store.no_more_connections",
                url=self.url,
                expected=self.address.pool_size,
                found=lent,
                error=str(refused),
            )
        return place

    def _too_few(self) -> StoreUnavailable:
        said = "" if self._full is None else f" ({' '.join(self._full[1].split())})"
        return StoreUnavailable(
            f"{self.url}: expected a connection within {self.patience:g} s, found that the server gives no more than the"
            f" {self._lent} in use here{said}; try again, or let it give more"
        )

    def _leave(self, place: Place) -> Link | None:
        """Nobody gave one back in time; but perhaps just now."""
        with self._lock:
            if place in self._places:
                self._places.remove(place)
                return None
        return place.get()

    def _give_back(self, link: Link) -> bool:
        """To the next thread; False when it is of no use any more."""
        if link.pgconn.transaction_status != _IDLE:  # nor is one that is closed
            return False
        with self._lock:
            if self.closed or link not in self._links:
                return False
            if self._places:
                self._places.popleft().put(link)
            else:
                self._lent -= 1
                self._idle.append(link)
        return True

    def _is_gone(self) -> None:
        """One that was lent was closed: there is room for another one."""
        with self._lock:
            self._lent -= 1
            self._full = None
            if self._places:
                self._places.popleft().put(None)

    @property
    def waiting(self) -> int:
        """How many threads wait for a connection that another one has, as the server gives no more."""
        return len(self._places)

    @property
    def open_now(self) -> int:
        """How many connections are open."""
        return sum(not link.closed for link in list(self._links))

    # -- reading and writing

    def sql(self, statement: str) -> bytes:
        """A statement of ours for this store's schema."""
        return placed(statement, self.address.schema)

    def fetch(self, statement: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """All rows of one statement."""
        try:
            return self._fetch(statement, parameters)
        except UNPREPARED:  # a pooler is in between; from now on nothing is prepared
            return self._fetch(statement, parameters)

    def _fetch(self, statement: str, parameters: Sequence[Any]) -> list[Any]:
        with self.held() as link:
            return link.execute(self.sql(statement), parameters).fetchall()

    def run(self, statement: str, parameters: Sequence[Any] = ()) -> int:
        """One statement that writes; how many rows it touched."""
        with self.held() as link:
            return link.execute(self.sql(statement), parameters).rowcount

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Link]:
        """A connection of its own on which the store stands still; its statements may take as long as they need."""
        with self.separate(patience=_FOR_EVER) as link:
            link.execute(b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield link

    def close(self) -> None:
        """Close all that are idle; one that is in use goes when it is given back."""
        if getattr(self, "closed", True):
            return
        self.closed = True
        self.bell.ring()
        with self._lock:
            idle, self._idle = self._idle, []
            places, self._places = self._places, deque()
        for place in places:
            place.put(None)
        for link in idle:
            self.discard(link)
        _LIVE.discard(self)

    def after_fork_in_child(self) -> None:
        """Forget what belongs to the parent; its threads, which may have held locks, do not exist here."""
        INHERITED.extend(self._links)
        INHERITED.extend(self._idle)
        self._links = set()
        self._reset()
        self.bell = Bell()


_FOR_EVER = 7 * 24 * 3600.0
"""Seconds; for statements that read a whole store."""


def _after_fork_in_child() -> None:
    for connections in list(_LIVE):
        connections.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)

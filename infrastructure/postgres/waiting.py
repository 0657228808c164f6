"""Learning of new events: a bell for this process, and the server's notifications for the others.

A notification says no more than "look": where the store stands is what the tables say. It is sent by a thread of its own after the
commit, at most every few milliseconds, because the server lets only one transaction that notifies commit at a time. One that is lost, late
or merged with another costs nothing but time: whoever waits also looks by itself now and then, often while the notifications are not
known to arrive, as behind a pooler.

Who listens holds a lock that says so. While nobody does, nothing is sent, and writers look only a few times a second whether that has changed; who
begins to listen looks by itself until all writers have had the time to notice.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from time import monotonic

import psycopg

from ...domain.errors import LastwordError
from ..logs import get_logger
from .connections import Connections
from .quick import one_row

log = get_logger("lastword.store")

LOOK_SECONDS = 1.0
"""How often who waits looks by itself while notifications arrive."""
POLL_SECONDS = 0.05
"""The same while they do not."""
SETTLE_SECONDS = 0.002
"""How soon it looks again for events that are there already, behind one that is still on its way."""
_RING_SECONDS = 0.01
"""A process sends no more than one notification in this time."""
_UNHEARD_SECONDS = 0.25
"""The same when nobody listened to the last one."""
_NEW_SECONDS = 1.0
"""So long who listens is not sure that all writers know."""
_NEW_LOOK_SECONDS = 0.01
"""How often who waits looks by itself meanwhile."""
_PROBE_SECONDS = 5.0
"""How often the listener checks that notifications arrive."""
_RECONNECT_SECONDS = (0.05, 2.0)


def wait_for_event(
    connections: Connections, settled: Callable[[], int], after: int, timeout: float
) -> bool:
    """Block until there is an event behind the position or the store is closed; True if there is one.

    `settled` gives the position up to which everything that will ever be there can be seen.
    """
    until = monotonic() + timeout
    listener = listening(connections)
    while not connections.closed:
        rung = connections.bell.rung
        try:
            there = connections.fetch(
                "SELECT EXISTS (SELECT 1 FROM events WHERE position > ?)", (after,)
            )
            if there[0][0] and settled() > after:
                return True
        except (LastwordError, psycopg.Error):
            if connections.closed:  # just now
                return False
            raise
        left = until - monotonic()
        if left <= 0:
            return False
        pause = LOOK_SECONDS if listener.works else listener.pause
        connections.bell.wait(rung, min(left, SETTLE_SECONDS if there[0][0] else pause))
    return False


class Listener:
    """Rings this process's bell when another process notifies; connects again by itself."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._channel = channel_of(connections)
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._lock = threading.Lock()
        self._proven = 0.0
        self._began = 0.0

    @property
    def works(self) -> bool:
        """Whether a notification arrived not long ago, and everybody knows that somebody listens."""
        return monotonic() - self._proven < 2 * _PROBE_SECONDS and not self._is_new

    @property
    def pause(self) -> float:
        """Seconds after which who waits looks by itself while it does not work."""
        return _NEW_LOOK_SECONDS if self._is_new else POLL_SECONDS

    @property
    def _is_new(self) -> bool:
        return monotonic() - self._began < _NEW_SECONDS

    def ensure_running(self) -> None:
        """Start the thread unless it runs in this process."""
        if self._thread is not None and self._pid == os.getpid() and self._thread.is_alive():
            return
        with self._lock:
            self._pid = os.getpid()
            self._proven = 0.0
            self._thread = threading.Thread(target=self._run, name="lastword-listener", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        shortest, longest = _RECONNECT_SECONDS
        pause = shortest
        while not self._connections.closed:
            began = monotonic()
            try:
                self._listen()
            except (psycopg.Error, LastwordError, OSError) as error:
                self._proven = 0.0
                if not self._connections.closed:
                    log.debug("lastword.listener.lost", error=str(error))
            self._connections.bell.ring()  # something may have come meanwhile
            if monotonic() - began > longest:
                pause = shortest
            rung = self._connections.bell.rung
            if not self._connections.closed:
                self._connections.bell.wait(rung, pause)
            pause = min(2 * pause, longest)

    def _listen(self) -> None:
        with self._connections.separate() as link:
            link.execute(
                b"SELECT pg_advisory_lock_shared(%s, hashtext(%s))", (HEARD, self._channel)
            )
            link.execute(f'LISTEN "{self._channel}"'.encode())
            self._began, probed = monotonic(), 0.0
            while not self._connections.closed:
                if monotonic() - probed > _PROBE_SECONDS:
                    notify(self._connections, self._channel)
                    probed = monotonic()
                for _ in link.notifies(timeout=0.5, stop_after=1):
                    self._proven = monotonic()
                    self._connections.bell.ring()


class Ringer:
    """Tells other processes, behind the writers' backs, that there is something new."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._channel = channel_of(connections)
        self._wanted = threading.Event()
        self._thread: threading.Thread | None = None
        self._pid = 0

    def ring(self) -> None:
        """Wake who waits here at once, and the others soon."""
        self._connections.bell.ring()
        if self._wanted.is_set() and self._pid == os.getpid():
            return  # somebody else has asked for it
        if self._thread is None or self._pid != os.getpid() or not self._thread.is_alive():
            self._pid = os.getpid()
            self._wanted = threading.Event()
            self._thread = threading.Thread(target=self._run, name="lastword-ringer", daemon=True)
            self._thread.start()
        self._wanted.set()

    def flush(self) -> None:
        """Send what is still to be sent, before the store is closed."""
        if self._pid == os.getpid() and self._wanted.is_set():
            self._send()

    def stop(self) -> None:
        """Let the thread end."""
        self._wanted.set()

    def _run(self) -> None:
        pause = threading.Event()  # never set; a sleep that tests can see
        while self._wanted.wait() and not self._connections.closed:
            pause.wait(_RING_SECONDS if self._send() else _UNHEARD_SECONDS)

    def _send(self) -> bool:
        """Whether anybody may have heard it."""
        self._wanted.clear()
        with contextlib.suppress(
            psycopg.Error, LastwordError, OSError
        ):  # who waits looks by itself, too
            return notify(self._connections, self._channel)
        return True


HEARD = 0x4C575245
"""The class of the advisory locks of those who listen; the one behind that of `schema.LOCK`."""
_NOTIFY = """
SELECT CASE WHEN pg_try_advisory_lock(?::int, hashtext(?::text)) THEN pg_advisory_unlock(?::int, hashtext(?::text))::text
ELSE set_config('synchronous_commit', 'off', true) || pg_notify(?::text, '')::text END
"""
"""Nothing is to be kept of a notification, so its commit need not wait for the disk."""


def notify(connections: Connections, channel: str) -> bool:
    """One notification, unless nobody listens; False then."""
    lock = (HEARD, channel)
    schema, prepare = connections.address.schema, connections.prepares
    with connections.held() as link:
        row = one_row(link, _NOTIFY, (*lock, *lock, channel), schema, prepare=prepare)
    return row != (b"true",)


def channel_of(connections: Connections) -> str:
    """The name under which the processes of one store hear of each other."""
    return f"lastword_{connections.address.schema}"


def listening(connections: Connections) -> Listener:
    """The listener of a store, running."""
    listener = connections.listener
    if listener is None:
        listener = connections.listener = Listener(connections)
    listener.ensure_running()
    return listener

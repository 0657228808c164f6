"""Learning of new events: a bell for this process, and the server's notifications for the others.

A notification says no more than "look": where the store stands is what the tables say. It is sent by a thread of its own after the
commit, at most every few milliseconds, because the server lets only one transaction that notifies commit at a time. One that is lost, late
or merged with another costs nothing but time: whoever waits also looks by itself now and then, often while the notifications are not
known to arrive, as behind a pooler.
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
        pause = LOOK_SECONDS if listener.works else POLL_SECONDS
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

    @property
    def works(self) -> bool:
        """Whether a notification arrived not long ago."""
        return monotonic() - self._proven < 2 * _PROBE_SECONDS

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
            link.execute(f'LISTEN "{self._channel}"'.encode())
            probed = 0.0
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
            self._send()
            pause.wait(_RING_SECONDS)

    def _send(self) -> None:
        self._wanted.clear()
        with contextlib.suppress(
            psycopg.Error, LastwordError, OSError
        ):  # who waits looks by itself, too
            notify(self._connections, self._channel)


_NOTIFY = "SELECT set_config('synchronous_commit', 'off', true) FROM pg_notify(?::text, '')"


def notify(connections: Connections, channel: str) -> None:
    """One notification."""
    with connections.held() as link:
        # Nothing is to be kept of it, so its commit need not wait for the disk.
        one_row(link, _NOTIFY, (channel,), connections.address.schema, prepare=connections.prepares)


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

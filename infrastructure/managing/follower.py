"""The thread that watches the store for those who wait in this process."""

from __future__ import annotations

import threading
from enum import Enum
from time import monotonic
from typing import Protocol

from ...domain.events import TERMINAL_TOPICS, CancellationRequested, RecordedEvent
from ...projections.ports import RunStore
from ..forks import tell_child
from ..logs import get_logger

log = get_logger("lastword.follower")

TOPICS = (*TERMINAL_TOPICS, CancellationRequested.TOPIC)
_BATCH = 500
_LOOK_SECONDS = 0.05
"""How often it looks for cancellation requests while runs of this process are all there is to watch."""
_WAIT_SECONDS = 0.1
"""The longest wait in the store, so that the thread can be stopped."""
_PATIENCE_SECONDS = 0.25
"""The pause after a fault of the store."""
_LINGER_SECONDS = 5.0
"""How long the thread stays when there is nothing to watch any more."""


class Interest(Enum):
    """What there is to watch."""

    NOTHING = "nothing"
    REQUESTS = "requests"
    """Runs of this process, which somebody may ask to stop: a look now and then will do."""
    ENDINGS = "endings"
    """Runs of others, whose end somebody waits for: every moment counts."""


class Audience(Protocol):
    """Those on whose behalf the follower watches. Called from its thread."""

    def interest(self) -> Interest:
        """What there is to watch now; answers without asking the store."""
        ...

    def look(self) -> None:
        """Read the state of all runs that are watched: their events so far may have been missed. May raise what the store raises."""
        ...

    def heard(self, recorded: RecordedEvent) -> None:
        """An event on one of `TOPICS`, in store order. May raise what the store raises; then `look` is called."""
        ...


class Follower:
    """One thread over the store's feed, there only while there is something to watch.

    It survives every fault of the store: afterwards it reads the state of all watched runs and goes on from the newest event.
    """

    def __init__(self, store: RunStore, audience: Audience) -> None:
        self._store = store
        self._audience = audience
        self.faults = 0
        """How often in a row the store could not be asked."""
        self.forget_parent()
        tell_child(self)

    def forget_parent(self) -> None:
        """After a fork there is no thread."""
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._woken = False
        self._must_look = False

    @property
    def is_alive(self) -> bool:
        """Whether the thread is there."""
        return self._thread is not None and self._thread.is_alive()

    def ensure(self, *, wake: bool = False, look: bool = False) -> None:
        """Make sure that the thread is there. `wake` it at once; let it `look` at all runs again.

        Raises `RuntimeError` when no thread can be started.
        """
        with self._condition:
            self._must_look |= look
            self._stopping = False
            if self._thread is None or not self._thread.is_alive():
                thread = threading.Thread(target=self._loop, name="lastword-follower", daemon=True)
                self._thread = thread
                try:
                    thread.start()
                except BaseException:
                    self._thread = None
                    raise
            elif wake or look:
                self._woken = True
                self._condition.notify_all()

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread and wait for it, at most `timeout` seconds."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    # -- inside the thread

    def _loop(self) -> None:
        position: int | None = None
        while not self._is_told_to_stop():
            interest = self._audience.interest()
            if interest is Interest.NOTHING:
                position = None
                if self._is_idle_for_long():
                    return
                continue
            try:
                if position is None or self._take_must_look():
                    newest = self._store.last_position()  # first: what comes after it is heard
                    self._audience.look()
                    position = newest
                else:
                    self._wait(interest, position)
                    position = self._catch_up(position)
                self.faults = 0
            except Exception as error:  # whatever it is, somebody still waits
                self.faults += 1
                if self.faults == 1:
                    log.warning("lastword.follower.interrupted", error=str(error), exc_info=True)
                position = None
                self._pause(_PATIENCE_SECONDS)

    def _is_told_to_stop(self) -> bool:
        with self._condition:
            if self._stopping:
                self._thread = None  # whoever calls `ensure` from here on starts another
            return self._stopping

    def _is_idle_for_long(self) -> bool:
        """Wait for something to watch; True, and the thread is gone, when nothing came."""
        until = monotonic() + _LINGER_SECONDS
        with self._condition:
            while self._audience.interest() is Interest.NOTHING and not self._stopping:
                if monotonic() >= until:
                    self._thread = None
                    return True
                self._woken = False
                self._condition.wait(_LOOK_SECONDS)
        return False

    def _take_must_look(self) -> bool:
        with self._condition:
            must_look, self._must_look = self._must_look, False
            return must_look

    def _wait(self, interest: Interest, position: int) -> None:
        if interest is Interest.ENDINGS:
            self._store.wait(position, _WAIT_SECONDS)
        else:
            self._pause(_LOOK_SECONDS)

    def _pause(self, seconds: float) -> None:
        with self._condition:
            if not self._woken and not self._stopping:
                self._condition.wait(seconds)
            self._woken = False

    def _catch_up(self, position: int) -> int:
        newest = self._store.last_position()
        if newest < position:  # not the store it was
            self._audience.look()
            return newest
        while position < newest:
            recorded = self._store.read(position, _BATCH, TOPICS)
            for item in recorded:
                self._audience.heard(item)
            if len(recorded) < _BATCH:
                return max(newest, recorded[-1].position if recorded else 0)
            position = recorded[-1].position
        return position

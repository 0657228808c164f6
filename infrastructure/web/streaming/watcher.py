"""The one thread that watches the store for everybody who listens."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from ....domain.errors import StoreUnavailable
from ....domain.events import RecordedEvent
from ....projections.ports import RunStore
from ...logs import get_logger

log = get_logger("lastword.web.watcher")

_BATCH = 500
_WAIT_SECONDS = 0.25
"""The longest wait in the store, so that the thread can be stopped."""
_PATIENCE_SECONDS = 0.25
"""The pause after a fault of the store."""

Tell = Callable[[Sequence[RecordedEvent], int, int], object]
"""Gets events in store order, and the positions between which these are all: behind the first, up to the second."""


class Watcher:
    """Reads what comes into the store and tells it, from its thread.

    A store that is away is asked until it is back; nothing is left out meanwhile. An event that cannot be read is passed over: then there
    is a gap between what was told and what is told next.
    """

    def __init__(self, store: RunStore, tell: Tell) -> None:
        self._store = store
        self._tell = tell
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="lastword-web-watcher", daemon=True)

    def start(self) -> None:
        """Begin at the newest event."""
        self._thread.start()

    def stop(self) -> None:
        """It ends within a moment; what it still tells is to be ignored."""
        self._stopped.set()

    def join(self, timeout: float) -> None:
        """Wait until it has ended."""
        self._thread.join(timeout)

    def _loop(self) -> None:
        position: int | None = None
        failing = False
        while not self._stopped.is_set():
            try:
                newest = self._store.last_position()
                if position is None or newest < position:  # the beginning, or not the store it was
                    self._tell((), newest, newest)
                    position = newest
                position = self._catch_up(position, newest)
                failing = False
                self._store.wait(position, _WAIT_SECONDS)
            except Exception as error:  # whatever it is, somebody still listens
                if not failing and not self._stopped.is_set():
                    log.warning("lastword.web.watcher_interrupted", error=str(error), exc_info=True)
                failing = True
                if not isinstance(error, StoreUnavailable):
                    position = None
                self._stopped.wait(_PATIENCE_SECONDS)

    def _catch_up(self, position: int, newest: int) -> int:
        while position < newest and not self._stopped.is_set():
            recorded = self._store.read(position, _BATCH)
            last = recorded[-1].position if recorded else position
            upto = last if len(recorded) == _BATCH else max(newest, last)
            self._tell(recorded, position, upto)
            position = upto
        return position

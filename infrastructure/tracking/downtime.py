"""What the last appends say of the store, so that the work does not crawl while it is away."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from ...domain.errors import StoreUnavailable

_SECONDS = 2.0
"""So long after a failed append the store counts as down: others are tried once, and one at a time."""


class Downtime:
    """Remembers a failed append for a moment."""

    def __init__(self) -> None:
        self._last: tuple[StoreUnavailable, float] | None = None
        self._trying = threading.Lock()

    @property
    def now(self) -> StoreUnavailable | None:
        """The fault of an append that failed just now; None when the last one got in, or that was some time ago."""
        last = self._last
        return None if last is None or monotonic() >= last[1] else last[0]

    @property
    def is_being_tried(self) -> bool:
        """Whether somebody is finding out if the store is back; many who wait for the same answer would wait one after the other."""
        return self._trying.locked()

    @property
    def is_forgotten(self) -> bool:
        """Whether the last append got in, so that there is nothing to remember; by far the most common case."""
        return self._last is None

    def failed(self, error: StoreUnavailable) -> None:
        """An append did not get in."""
        self._last = (error, monotonic() + _SECONDS)

    @contextmanager
    def trying(self) -> Iterator[bool]:
        """Around an append after one that failed; whether the store was down when it began. Forgets the fault when it got in."""
        down = self.now is not None
        taken = down and self._trying.acquire(blocking=False)
        try:
            yield down
            self._last = None
        except StoreUnavailable as error:
            self.failed(error)
            raise
        finally:
            if taken:
                self._trying.release()

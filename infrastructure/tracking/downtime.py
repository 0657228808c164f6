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
        if self._last is None or monotonic() >= self._last[1]:
            return None
        return self._last[0]

    @property
    def is_being_tried(self) -> bool:
        """Whether somebody is finding out if the store is back; many who wait for the same answer would wait one after the other."""
        return self._trying.locked()

    @contextmanager
    def trying(self) -> Iterator[bool]:
        """Around an append; whether the store was down when it began. Remembers how it ends."""
        down = self.now is not None
        taken = down and self._trying.acquire(blocking=False)
        try:
            yield down
        except StoreUnavailable as error:
            self._last = (error, monotonic() + _SECONDS)
            raise
        else:
            self._last = None
        finally:
            if taken:
                self._trying.release()

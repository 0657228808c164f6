"""What the last appends say of the store, so that the work does not crawl while it is away."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from time import monotonic

from ...domain.errors import StoreUnavailable

_SECONDS = 2.0
"""So long after a failed append the store counts as down: others are tried once, and one at a time."""


class Downtime:
    """Remembers a failed append for a moment."""

    def __init__(self) -> None:
        self._last: tuple[StoreUnavailable, float] | None = None
        self._trying = threading.Lock()
        self._usual = _Usual(self)

    @property
    def now(self) -> StoreUnavailable | None:
        """The fault of an append that failed just now; None when the last one got in, or that was some time ago."""
        last = self._last
        return None if last is None or monotonic() >= last[1] else last[0]

    @property
    def is_being_tried(self) -> bool:
        """Whether somebody is finding out if the store is back; many who wait for the same answer would wait one after the other."""
        return self._trying.locked()

    def trying(self) -> AbstractContextManager[bool]:
        """Around an append; whether the store was down when it began. Remembers how it ends."""
        return self._usual if self._last is None else self._trying_again()

    @contextmanager
    def _trying_again(self) -> Iterator[bool]:
        down = self.now is not None
        taken = down and self._trying.acquire(blocking=False)
        try:
            with self._usual:
                yield down
        finally:
            if taken:
                self._trying.release()

    def ended(self, error: BaseException | None) -> None:
        """How an append went."""
        if error is None:
            self._last = None
        elif isinstance(error, StoreUnavailable):
            self._last = (error, monotonic() + _SECONDS)


class _Usual:
    """Around an append while nothing is amiss. One object for all of them, not a generator for each: it stands in the way of every append."""

    __slots__ = ("_downtime",)

    def __init__(self, downtime: Downtime) -> None:
        self._downtime = downtime

    def __enter__(self) -> bool:
        return False

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._downtime.ended(error)

"""What all routes share: the tracker, and threads in which it may be asked."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from ...domain.errors import StoreUnavailable
from ..managing.asynchronous import AsyncRunManager
from ..managing.manager import RunManager
from ..tracking.tracker import RunTracker
from .streaming.hub import Hub
from .streaming.response import STREAMS_PER_CLIENT, Turnstile

P = ParamSpec("P")
R = TypeVar("R")

_READERS, _WRITERS, _LOOKERS = 8, 8, 1
_WAITING = 256
"""Calls that wait for a thread of one kind; more are turned away, so that a slow store does not pile them up without end."""


class Lane:
    """A few threads that stay: each keeps its connection to the store. They come with the first call."""

    def __init__(self, name: str, threads: int) -> None:
        self._name = name
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._places = threading.BoundedSemaphore(threads + _WAITING)

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call it in a thread. Raises what it raises, and `StoreUnavailable` when too many calls wait already."""
        if not self._places.acquire(blocking=False):
            raise StoreUnavailable(
                f"expected at most {_WAITING} calls to wait for the store, found more; try again later"
            )
        try:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(
                    self._threads, thread_name_prefix=f"lastword-web-{self._name}"
                )
            future = self._pool.submit(lambda: function(*args, **kwargs))
        except BaseException:
            self._places.release()
            raise
        # When the work is over, not when nobody waits for it any more: a client that leaves frees no thread.
        future.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Let the threads go; calls that run come to their end."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)


class Desk:
    """Where routes ask the tracker. The store is never asked in the event loop.

    Questions and commands have threads of their own: commands that wait for a store that is away do not keep questions from
    their answer, nor either of them the probe of health.
    """

    def __init__(
        self,
        tracker: RunTracker,
        *,
        manager: RunManager | AsyncRunManager | None = None,
        streams_per_client: int = STREAMS_PER_CLIENT,
    ) -> None:
        self.tracker = tracker
        self.manager = manager
        """Who executes runs in this process; None when nobody does."""
        self._reading = Lane("read", _READERS)
        self._writing = Lane("write", _WRITERS)
        self._looking = Lane("look", _LOOKERS)
        self.hub = Hub(self)
        """For those who listen."""
        self.turnstile = Turnstile(streams_per_client)
        self.keepalive_seconds = 15.0
        """After so long a silence, a stream says that it is still there."""

    async def ask(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """A question to the store, e.g. ``await desk.ask(desk.tracker.get, 17)``."""
        return await self._reading.run(function, *args, **kwargs)

    async def tell(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """A command: something that changes the store."""
        return await self._writing.run(function, *args, **kwargs)

    async def look(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """A look at the store's health, which must not wait behind others."""
        return await self._looking.run(function, *args, **kwargs)

    def open(self) -> None:
        """The application begins; it may do so again after `close`."""
        self.hub.is_closed = False

    def close(self) -> None:
        """Let listeners and threads go. The tracker belongs to whoever made it."""
        self.hub.close()
        for lane in (self._reading, self._writing, self._looking):
            lane.close()

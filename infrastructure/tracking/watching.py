"""Waiting for new events on behalf of coroutines: one thread for all of them."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from ..logs import get_logger

if TYPE_CHECKING:
    from .tracker import RunTracker

log = get_logger("lastword.watching")

_WAIT_SECONDS = 0.25
"""The longest wait in the store, so that who comes later, and who leaves, is noticed."""


class Watch:
    """Wakes those who wait for an event behind their position. Its thread lives while somebody waits."""

    def __init__(self, tracker: RunTracker) -> None:
        self._tracker = tracker
        self._lock = threading.Lock()
        self._waiting: dict[asyncio.Future[bool], int] = {}
        self._thread: threading.Thread | None = None

    async def wait(self, after: int) -> bool:
        """Return when there is an event behind the position, True; or when the tracker is closed, False. Raises `StoreUnavailable`."""
        woken: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        with self._lock:
            self._waiting[woken] = after
            if self._thread is None or not self._thread.is_alive():  # after a fork it is not
                self._thread = threading.Thread(
                    target=self._run, name="lastword-watch", daemon=True
                )
                self._thread.start()
        try:
            return await woken
        finally:
            with self._lock:
                self._waiting.pop(woken, None)

    def _run(self) -> None:
        while (after := self._first()) is not None:
            try:
                if self._tracker.closed:
                    self._wake(None, found=False)
                elif self._tracker.store.wait(after, _WAIT_SECONDS):
                    self._wake(self._tracker.store.last_position())
            except Exception as error:  # noqa: BLE001  # raised to those who wait
                if self._tracker.closed:
                    continue
                log.debug("lastword.watch.fault", error=str(error))
                self._wake(None, error=error)

    def _first(self) -> int | None:
        """The earliest position behind which somebody waits; None, and the thread may end, when nobody does."""
        with self._lock:
            if not self._waiting:
                self._thread = None
                return None
            return min(self._waiting.values())

    def _wake(
        self, newest: int | None, *, found: bool = True, error: Exception | None = None
    ) -> None:
        """Those who wait for an event before `newest`; None: all."""
        with self._lock:
            woken = [it for it, after in self._waiting.items() if newest is None or after < newest]
            for future in woken:
                del self._waiting[future]
        for future in woken:
            with suppress(RuntimeError):  # its loop is closed
                future.get_loop().call_soon_threadsafe(partial(_settle, future, found, error))


def _settle(woken: asyncio.Future[bool], found: bool, error: Exception | None) -> None:
    if woken.done():  # cancelled
        return
    if error is None:
        woken.set_result(found)
    else:
        woken.set_exception(error)

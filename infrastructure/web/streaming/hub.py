"""Where those who listen meet what happens: a ring of the newest events, and a cursor for each listener.

    store --(one thread)--> ring --(event loop)--> listeners, each with a position and a filter
      '------------------(threads of the desk)--------^   what is older than the ring

A listener holds no queue: it looks into the ring from its position. One that is too slow for the ring, or comes with an old position, reads
the store until it has caught up. So a slow client costs nothing, and nothing is left out.
"""

from __future__ import annotations

import asyncio
import json
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING

from ....domain.errors import StoreUnavailable
from ....domain.events import STORE_KEY, RecordedEvent
from ....domain.values import RunId, run_key
from ....projections.completion import CompletionSignal, signal_of_event
from ...managing.endings import Claim
from .frames import frame
from .watcher import Watcher

if TYPE_CHECKING:
    from ..desk import Desk

_RING = 1024
"""Events that are kept for those who listen."""
_BATCH = 500
_AGAIN_SECONDS = 0.5
"""The pause before the store is asked again that was away."""
_CLAIMS = 1000
"""Outcomes that are remembered while the store does not have them."""


class HungUp(Exception):
    """There is nothing more to hear: the client has left, or the server ends. It says nothing about any run."""


class Told:
    """An event, and the bytes that stand for it; these are made once for all who get them."""

    __slots__ = ("__dict__", "key", "recorded")

    def __init__(self, recorded: RecordedEvent) -> None:
        self.recorded = recorded
        self.key = STORE_KEY if recorded.is_of_store else run_key(recorded.run_id)

    @property
    def position(self) -> int:
        """Where it stands in the store."""
        return self.recorded.position

    @cached_property
    def signal(self) -> CompletionSignal | None:
        """The signal that it stands for; None when it is no last word."""
        return signal_of_event(self.recorded)

    @cached_property
    def message(self) -> bytes:
        """As a message of its run's stream."""
        return frame(json.dumps(self.recorded.as_json(), ensure_ascii=False), id=self.position)

    @cached_property
    def completion(self) -> bytes:
        """As an entry of the completion feed; empty when it is no last word."""
        if self.signal is None:
            return b""
        return frame(
            json.dumps(self.signal, ensure_ascii=False), event="complete", id=self.position
        )


class Hub:
    """Keeps the listeners of one application. Used from its event loop only; the watcher is there while somebody listens."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._store = desk.tracker.store
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watcher: Watcher | None = None
        self._listeners: dict[Listener, None] = {}
        self._ring: list[Told] = []
        self._floor: int | None = None
        self._top = 0
        self._claims: OrderedDict[str, Claim] = OrderedDict()
        self.is_closed = False
        """Nobody is let in any more."""

    @property
    def listening(self) -> int:
        """How many listen now."""
        return len(self._listeners)

    def listen(
        self, after: int, run_id: RunId | None = None, *, topics: Sequence[str] = ()
    ) -> Listener:
        """Somebody who hears what comes behind a position: of one run, or of all; of these topics, or of all.

        `leave` must be called in the end. Raises `StoreUnavailable` when the server is about to end.
        """
        if self.is_closed:
            raise StoreUnavailable("this server is about to end; connect again in a moment")
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._forget_everything()
            self._loop = loop
        listener = Listener(self, self._desk, after, run_id, topics)
        self._listeners[listener] = None
        if self._watcher is None:
            watcher = Watcher(
                self._store,
                lambda events, after, upto: self._from_thread(watcher, events, after, upto),
            )
            self._watcher = watcher
            watcher.start()
        return listener

    def leave(self, listener: Listener) -> None:
        """Nobody reads there any more. The last one to leave ends the watcher."""
        self._listeners.pop(listener, None)
        if not self._listeners:
            self._forget_everything()

    def not_stored(self, claim: Claim) -> None:
        """Work ended and the store did not take its outcome: who listens to the run hears that, and not that all is well."""
        key = run_key(claim.run_id)
        self._claims[key] = claim
        self._claims.move_to_end(key)
        while len(self._claims) > _CLAIMS:
            self._claims.popitem(last=False)
        for listener in self._listeners:
            if listener.key == key:
                listener.wake()

    def claim(self, key: str) -> Claim | None:
        """What is known here of the end of a run, and not yet in the store."""
        return self._claims.get(key)

    def hang_up(self) -> None:
        """The server is about to end: every stream ends without a last word of its own."""
        self.is_closed = True
        for listener in [*self._listeners]:
            listener.hang_up()

    def close(self) -> None:
        """Hang up, and wait a moment for the watcher: the store may be closed afterwards."""
        watcher = self._watcher
        self.hang_up()
        self._forget_everything()
        if watcher is not None:
            watcher.join(1.0)

    # -- for listeners

    def heard(self, after: int) -> Sequence[Told] | None:
        """What came behind a position, of all runs; None when that is more than the ring holds."""
        if self._floor is None or after < self._floor:
            return None
        begin = bisect_right(self._ring, after, key=lambda told: told.position)
        return [*islice(self._ring, begin, None)]

    @property
    def top(self) -> int:
        """The position up to which everything is known here."""
        return self._top

    # -- from the watcher

    def _from_thread(
        self, watcher: Watcher, events: Sequence[RecordedEvent], after: int, upto: int
    ) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._arrived, watcher, events, after, upto)

    def _arrived(
        self, watcher: Watcher, events: Sequence[RecordedEvent], after: int, upto: int
    ) -> None:
        if watcher is not self._watcher:
            return
        if self._floor is None or after != self._top:
            self._ring, self._floor = [], after
        told = [Told(recorded) for recorded in events]
        self._ring += told
        if len(self._ring) > _RING:
            self._floor = self._ring[-_RING - 1].position
            self._ring = self._ring[-_RING:]
        self._top = upto
        keys = {item.key for item in told}
        for item in told:
            if item.signal is not None:
                self._claims.pop(item.key, None)
        for listener in self._listeners:
            if listener.key is None or listener.key in keys or not told:
                listener.wake()

    def _forget_everything(self) -> None:
        if self._watcher is not None:
            self._watcher.stop()
        self._watcher = None
        self._listeners.clear()
        self._ring, self._floor, self._top = [], None, 0


class Listener:
    """A cursor over what happens."""

    __slots__ = (
        "__weakref__",
        "_desk",
        "_gone",
        "_hub",
        "_run_id",
        "_topics",
        "_woken",
        "key",
        "position",
    )

    def __init__(
        self, hub: Hub, desk: Desk, after: int, run_id: RunId | None, topics: Sequence[str]
    ) -> None:
        self._hub = hub
        self._desk = desk
        self._run_id = run_id
        self._topics = frozenset(topics)
        self._woken = asyncio.Event()
        self._gone = False
        self.key = None if run_id is None else run_key(run_id)
        self.position = after
        """Everything up to here was given out."""

    async def next(self, timeout: float) -> Sequence[Told]:  # noqa: ASYNC109  # how long to be silent, not how long to try
        """What came since the last call, in store order; nothing after so many seconds, or when it was only woken.

        A store that is away is waited for. Raises `HungUp`, `StoreCorrupt`, `UnsupportedSchema`.
        """
        if self._gone:
            raise HungUp
        self._woken.clear()  # before looking: what comes meanwhile sets it again
        found = self._from_ring()
        if found is None:
            timeout = min(timeout, _AGAIN_SECONDS)
            with suppress(StoreUnavailable):
                found = await self._from_store()
        if found:
            return found
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._woken.wait()
        if self._gone:
            raise HungUp
        return self._from_ring() or ()

    def wake(self) -> None:
        """There may be something to hear."""
        self._woken.set()

    def hang_up(self) -> None:
        """`next` raises from now on."""
        self._gone = True
        self._woken.set()

    def hear_everything(self) -> None:
        """From the position on that it has reached, of all topics."""
        self._topics = frozenset()

    def leave(self) -> None:
        """Nobody calls `next` any more."""
        self._gone = True
        self._hub.leave(self)

    def _from_ring(self) -> Sequence[Told] | None:
        heard = self._hub.heard(self.position)
        if heard is None:
            return None
        self.position = max(self.position, self._hub.top)
        return [told for told in heard if self._wants(told)]

    async def _from_store(self) -> Sequence[Told]:
        """The next ones as the store has them; fewer than a batch of them means that there are no more."""
        desk, store, after = self._desk, self._desk.tracker.store, self.position

        def read() -> tuple[list[RecordedEvent], int]:
            newest = store.last_position()  # first: what comes after it is heard
            if self._run_id is not None:
                recorded = [item for item in store.read_run(self._run_id) if item.position > after]
            else:
                recorded = store.read(after, _BATCH, tuple(self._topics))
                if len(recorded) == _BATCH:
                    newest = recorded[-1].position
            return recorded, max([after, newest, *(item.position for item in recorded[-1:])])

        recorded, self.position = await desk.ask(read)
        return [told for told in map(Told, recorded) if self._wants(told)]

    def _wants(self, told: Told) -> bool:
        if self.key is not None and told.key != self.key:
            return False
        return not self._topics or told.recorded.type in self._topics

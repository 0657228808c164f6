"""What a run of this very process says while it works: messages that the store never holds, and the signal when even it does not."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Iterator

from ....domain.errors import StoreUnavailable
from ....domain.values import RunId
from ...managing.asynchronous import AsyncRunManager
from ...managing.endings import Claim, Message
from ...managing.manager import RunManager
from ...managing.subscribers import Subscriber, is_last
from .hub import Listener


class LocalMessages:
    """The messages of one run, if the manager of this process executes it; the listener is woken when there are some."""

    def __init__(
        self, manager: RunManager | AsyncRunManager | None, listener: Listener, run_id: RunId
    ) -> None:
        self._notifier = None if manager is None else manager.notifier
        self._run_id = run_id
        self.signal: Message | None = None
        """How the run ended, once that was told."""
        self.is_expected = False
        """Whether the signal will come from here."""
        if self._notifier is not None:
            loop = asyncio.get_running_loop()
            self._subscriber = Subscriber(
                run_id, wake=lambda: loop.call_soon_threadsafe(listener.wake)
            )
            self.is_expected = self._notifier.join_local(self._subscriber)
            if not self.is_expected:
                self._notifier.leave(self._subscriber)

    def arrived(self) -> Iterator[Message]:
        """What came since the last call, the signal excepted."""
        while self.is_expected:
            try:
                message = self._subscriber.queue.get_nowait()
                over = is_last(message, self._subscriber)
            except queue.Empty:
                return
            except (
                StoreUnavailable
            ):  # the manager was shut down; the store will say how the run ends
                self.is_expected = False
                return
            if over:
                self.signal, self.is_expected = message, False
            else:
                yield message

    def unrecorded(self) -> Claim | None:
        """How the run ended here, if the store has not taken that: whoever comes later hears it, too. None while the signal will say it."""
        if self._notifier is None or self.is_expected:
            return None
        return self._notifier.unrecorded(self._run_id)

    def close(self) -> None:
        """Stop listening."""
        if self._notifier is not None:
            self._notifier.leave(self._subscriber)

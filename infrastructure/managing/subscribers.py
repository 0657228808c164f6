"""One who waits for a run: a bounded queue that takes messages and, in any case, the signal."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import Empty, Full, Queue, SimpleQueue
from types import TracebackType
from typing import ClassVar, Self

from ...domain.errors import StoreUnavailable
from ...domain.values import RunId, run_key
from .endings import Ending, Message

QUEUE_SIZE = 1000
"""Messages that wait for one subscriber; beyond that the oldest are dropped."""


class Subscriber:
    """Takes messages for one run, from any thread, and never blocks the one who sends.

    `queue` is one that others wait on, too; without it a simple one is made, in a hundredth of the time. `wake` is called after each
    message, for those who cannot wait on a queue.
    """

    def __init__(
        self,
        run_id: RunId,
        queue: Queue[Message] | None = None,
        *,
        wake: Callable[[], object] | None = None,
    ) -> None:
        self.run_id = run_id
        self.key = run_key(run_id)
        self.queue: Queue[Message] | SimpleQueue[Message] = (
            SimpleQueue() if queue is None else queue
        )
        self.is_closed = False
        """Nobody reads any more; set from outside."""
        self.farewell: Message | None = None
        """The message that says that there will be no signal here."""
        self._wake = wake
        self._lock = threading.Lock()
        self._ended = False
        self._dropped = 0

    def push(self, message: Message) -> None:
        """An ordinary message; nothing comes after the signal."""
        with self._lock:
            if not self._ended and not self.is_closed:
                self._put(message)

    def end(self, ending: Ending) -> bool:
        """The last messages, whatever it takes; False when there was an end already."""
        with self._lock:
            if self._ended:
                return False
            self._ended = True
            last: list[Message] = [] if ending.warning is None else [dict(ending.warning)]
            self._put_all([*last, {**ending.signal}])
            return True

    def abandon(self, why: str) -> None:
        """There will be no signal here: nobody watches the run any longer."""
        with self._lock:
            if not self._ended:
                self._ended = True
                self.farewell = {"run_id": self.run_id, "level": "warning", "message": why}
                self._put_all([self.farewell])

    def _put_all(self, last: list[Message]) -> None:
        """Make room for the last messages, then put them; where messages were lost, say so before."""
        self._make_room(len(last))
        if self._dropped:
            self._make_room(len(last) + 1)
            text = f"{self._dropped:,} messages were dropped: the queue was full"
            last.insert(0, {"run_id": self.run_id, "level": "warning", "message": text})
        for message in last:
            self._put(message)

    def _make_room(self, count: int) -> None:
        while QUEUE_SIZE - self.queue.qsize() < count:
            self._drop_oldest()

    def _put(self, message: Message) -> None:
        self._make_room(1)
        while True:
            try:
                self.queue.put_nowait(message)
                break
            except Full:  # somebody else puts something into it, too
                self._drop_oldest()
        if self._wake is not None:
            try:
                self._wake()
            except RuntimeError:  # its event loop is closed
                self.is_closed = True

    def _drop_oldest(self) -> None:
        try:
            self.queue.get_nowait()
        except Empty:  # the reader was quicker, so there is room now
            return
        if isinstance(self.queue, Queue):
            self.queue.task_done()
        self._dropped += 1


class MessageStream(Iterator[Message]):
    """The messages of a run as an iterator that ends after the signal.

    Leaving it early, by `close`, by ``with``, or by letting go of it, unregisters. It raises `StoreUnavailable` when the manager
    is shut down while the run goes on elsewhere: that is no end of the run.
    """

    _CLOSED: ClassVar[Message] = {}

    def __init__(self, subscriber: Subscriber, leave: Callable[[Subscriber, bool], None]) -> None:
        self._subscriber = subscriber
        self._leave = leave
        self._over = False

    def __next__(self) -> Message:
        if self._over:
            raise StopIteration
        message = self._subscriber.queue.get()
        if message is self._CLOSED:
            raise StopIteration
        self._over = is_last(message, self._subscriber)
        return message

    def close(self) -> None:
        """Stop listening; a thread that waits in ``next`` gets `StopIteration`."""
        self._over = True
        self._leave(self._subscriber, True)
        self._subscriber.queue.put_nowait(self._CLOSED)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # The garbage collector may call this in the middle of anything: it must not wait for a lock.
        self._leave(self._subscriber, False)


def is_last(message: Message, subscriber: Subscriber) -> bool:
    """Whether the message is the signal. Raises `StoreUnavailable` when there will be none."""
    if message is subscriber.farewell:
        raise StoreUnavailable(message["message"])
    return message.get("complete") is True

"""Whose turn it is to write, among the threads of one process."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .steps import Step


class Turns:
    """The lock of the thread that writes, and the steps that wait for whoever has it.

    SQLite's own waiting is unfair and sleeps. Who lets go of the lock wakes the first of those who wait, so that somebody takes the next
    turn; who is woken and finds the lock taken again waits on, as the one who has it takes everything that waits along.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[Step] = deque()

    def acquire(self, *, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the turn; False when it could not be had in time. `timeout` is in seconds; negative means without end."""
        return self._lock.acquire(blocking, timeout)

    def take_alone(self) -> bool:
        """Take the turn if it is free, unless somebody waits for it."""
        return not self._waiting and self._lock.acquire(blocking=False)

    def release(self) -> None:
        """Let go."""
        self._lock.release()
        if self._waiting:
            with contextlib.suppress(IndexError):  # taken just now
                wake(self._waiting[0])

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    @property
    def waiting(self) -> int:
        """How many steps wait for somebody to take them."""
        return len(self._waiting)

    def enqueue(self, step: Step) -> None:
        """Let the step be taken by the next one who has the turn."""
        self._waiting.append(step)

    def withdraw(self, step: Step) -> bool:
        """Take it back; False when somebody has taken it already."""
        try:
            self._waiting.remove(step)
        except ValueError:
            return False
        return True

    def take(self, most: int) -> list[Step]:
        """The steps that wait, in their order; for the one who has the turn."""
        waiting = self._waiting
        return [waiting.popleft() for _ in range(min(len(waiting), most))]


def wake(step: Step) -> None:
    """Wake the thread that waits for the step, if one does."""
    if step.wake is not None:
        with contextlib.suppress(RuntimeError):  # it was woken before, and has not looked yet
            step.wake()

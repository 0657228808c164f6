"""What several threads want done at one moment, done by one of them.

There is no thread for it. Who finds nobody at work works at once, and takes along whatever others have queued meanwhile; who
finds somebody at work queues, and waits until it was taken along or the turn is free. Who has waited long, because the one at work waits for a disk or for somebody's
lock, works beside him, where the store allows that. Who is alone pays for a look at an empty queue.

Threads that were served together come again together. Where one works at a time, who works after such a service lets the others run first, as
long as that makes the queue longer: a few that go one after the other cost more than all of them at once (`Turn`). Where several may
work at a time, a turn of its own says when (`infrastructure.postgres.turns`).
"""

from __future__ import annotations

import contextlib
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from copy import copy
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Generic, TypeVar

from ...domain.errors import LastwordError, StoreUnavailable
from .faults import driver_error

MOST = 64
"""Pieces of work in one go; more wait for the next, so that nobody waits for a crowd."""

_CROWD = 3
"""So many that were served together are waited for. Two do better in turns: one writes while the other computes."""

GLANCE_SECONDS = 0.1
"""So often a thread that waits looks up, so that an interrupt reaches it, and whether the one that it waits for is still there."""

_ABANDONED_SECONDS = 60.0
"""After so long nobody is at work any more on what was taken along."""


class Work:
    """What one thread wants done."""

    __slots__ = ("done", "outcome", "wake")

    def __init__(self) -> None:
        self.outcome: Any = None
        """What came of it; an error, if it is one."""
        self.done = False
        """True once the outcome is final."""
        self.wake: Callable[[], object] | None = None
        """Wakes the thread that waits for another one to do this."""


W = TypeVar("W", bound=Work)


class Turn(Generic[W]):
    """The lock of the thread that works, and the work that waits for whoever has it. Made anew in a child after a fork."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        """Of the kind that knows whose it is: an interrupt may come between taking it and saying so. It is never taken twice."""
        known: Any = self._lock
        self._is_mine: Callable[[], bool] = known._is_owned  # noqa: SLF001  # as `threading.Condition` asks it
        self._waiting: deque[W] = deque()
        self._company = 1
        """How many pieces were taken the last time."""

    @property
    def waiting(self) -> int:
        """How many wait for somebody to take them along."""
        return len(self._waiting)

    def enqueue(self, work: W) -> None:
        """Let it be taken by the next one who has the turn."""
        self._waiting.append(work)

    def withdraw(self, work: W) -> bool:
        """Take it back; False when somebody has taken it already."""
        try:
            self._waiting.remove(work)
        except ValueError:
            return False
        return True

    def take(self, most: int = MOST) -> list[W]:
        """What waits, in its order."""
        waiting = self._waiting
        works: list[W] = []
        with contextlib.suppress(IndexError):  # that was all; others may take at the same moment
            while len(works) < most:
                works.append(waiting.popleft())
        return works

    def gather(self, most: int = MOST) -> list[W]:
        """What waits, and what others add when they are let run; for the one who has the turn."""
        waiting = self._waiting
        if self._company >= _CROWD:
            seen = 0
            while seen < (now := len(waiting)) < most:
                seen = now
                sleep(0)
        works = self.take(most)
        self._company = len(works)
        return works

    @property
    def is_mine(self) -> bool:
        """Whether this thread has it."""
        return self._is_mine()

    def acquire(self, *, blocking: bool = False, timeout: float = -1) -> bool:
        """Take the turn, if it is free; with `blocking` wait for it, at most `timeout` seconds, or without end.

        Where an interrupt may come, `drop` it afterwards.
        """
        return not self._is_mine() and self._lock.acquire(blocking, timeout)

    def take_alone(self) -> bool:
        """Take the turn if it is free, and nobody else is likely to come along. As with `acquire`, `drop` it after an interrupt."""
        if self._company >= _CROWD or self._waiting or self._is_mine():
            return False
        return self._lock.acquire(blocking=False)

    def release(self) -> None:
        """Let go, and wake the first of those who wait, so that somebody takes the next turn."""
        self._lock.release()
        self._wake_first()

    def drop(self) -> None:
        """`release` it if this thread has it: after an interrupt, which may have come before anybody could know. Not for a thread that had it before."""
        if self._is_mine():
            self.release()

    def _wake_first(self) -> None:
        """Wake the first of those who wait."""
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


class Sharing(ABC, Generic[W]):
    """Has work done, by the thread that comes with it or by another one that is at it."""

    def __init__(self, url: str, patience: float) -> None:
        self._url = url
        self._patience = patience
        """Seconds for which work waits to be taken along."""

    @property
    @abstractmethod
    def turn(self) -> Turn[W]:
        """That of this process."""

    @abstractmethod
    def _do(self, works: list[W]) -> None:
        """Do all of it, and put into each what came of it. Raises what concerns all of them."""

    @abstractmethod
    def _meaning(self, error: Exception) -> LastwordError:
        """What is raised instead of an error of the driver."""

    def _share(self, work: W) -> None:
        """Return when it is done. Raises what interrupts this thread."""
        turn = self.turn
        had_it = turn.is_mine  # a guard may ask the store for something
        turn.enqueue(work)
        try:
            if turn.acquire():
                self._lead(turn, work)
            if not work.done:
                self._follow(turn, work)
        except BaseException:
            if not had_it:
                turn.drop()
            turn.withdraw(work)
            raise

    def _lead(self, turn: Turn[W], own: W) -> None:
        """Do everything that waits, the turn is ours; until ours is done, or somebody else has taken it along."""
        try:
            while not own.done and (works := turn.gather()):
                self._do_for_all(works, own)
        finally:
            turn.release()

    def _do_for_all(self, works: list[W], own: W) -> None:
        try:
            self._do(works)
        except Exception as error:  # noqa: BLE001  # each thread raises its own
            for work in works:
                work.outcome = error if work is own else self._for_another(error)
        except BaseException as error:
            for work in works:
                work.outcome = StoreUnavailable(
                    f"{self._url}: expected another thread of this process to write, found it interrupted"
                    f" ({type(error).__name__}); try again"
                )
            raise
        finally:
            for work in works:
                work.done = True
                wake(work)

    def _follow(self, turn: Turn[W], work: W) -> None:
        """Wait until somebody has done the work, or the turn is ours, or patience is at its end."""
        gate = threading.Lock()
        gate.acquire()
        work.wake = gate.release
        ends = monotonic() + self._patience
        while not work.done:
            left = ends - monotonic()
            if left <= 0:
                self._wait_on(turn, work, gate)
                continue
            gate.acquire(timeout=min(left, GLANCE_SECONDS))
            if not work.done and turn.acquire():
                self._lead(turn, work)

    def _wait_on(self, turn: Turn[W], work: W, gate: threading.Lock) -> None:
        """Patience is at its end, and the work not done; called until it is. `gate` opens when somebody has done it."""
        if (
            works := turn.take()
        ):  # the one at work waits for a disk, or for somebody's lock: work beside him
            self._do_for_all(works, work)
        elif not gate.acquire(timeout=_ABANDONED_SECONDS) and not work.done:
            self._desert(work)

    def _for_another(self, error: Exception) -> LastwordError:
        """The same for another thread: an exception belongs to the one that raises it."""
        meaning = self._meaning(error)
        again = copy(meaning)
        again.__cause__ = meaning.__cause__ or (None if meaning is error else driver_error(error))
        return again

    def _desert(self, work: W) -> None:
        """Whoever has taken the work along does not come back."""
        work.outcome = StoreUnavailable(
            f"{self._url}: expected another thread of this process to write, found that it has ended; try again"
        )
        work.done = True


def wake(work: Work) -> None:
    """Wake the thread that waits for it, if one does."""
    if work.wake is not None:
        with contextlib.suppress(RuntimeError):  # it was woken before, and has not looked yet
            work.wake()

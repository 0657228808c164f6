"""When one more thread begins to write, for itself and for whoever waits.

A group costs less than its steps one by one, on both sides; but whoever waits for its company does nothing meanwhile. So it depends on how
many there are, and on what they wait for.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from time import monotonic, process_time

from ..storing.sharing import MOST, Turn, W

_FEW = 6
"""So many threads do better each for itself, however busy the process is."""
_FADING = 0.99
"""What is left of the size of a crowd after each look at fewer."""

_WINDOW_SECONDS = 0.02
"""Over so long the load is measured."""
_UNASKED_SECONDS = 0.1
"""If nobody asked for so long, the process did something else, and what it computed meanwhile says nothing."""
_HIGH = 0.8
"""Seconds of CPU time in a second from which on the process is busy."""
_LOW = 0.6
"""Below this it is not any more. Lower, as groups take less CPU time."""


class Load:
    """Whether this process computes nearly all the time, so that what it does takes longer than whom it waits for.

    `clock` and `cpu` give seconds that have passed, and seconds of CPU time that all threads together have had.
    """

    def __init__(
        self, clock: Callable[[], float] = monotonic, cpu: Callable[[], float] = process_time
    ) -> None:
        self._clock = clock
        self._cpu = cpu
        self._is_high = False
        self._since, self._had = clock(), cpu()

    def is_high(self) -> bool:
        """As of the last window; to be asked often."""
        now = self._clock()
        passed = now - self._since
        if passed >= _WINDOW_SECONDS:
            had = self._cpu()
            if passed < _UNASKED_SECONDS:
                share = (had - self._had) / passed
                self._is_high = share >= (_LOW if self._is_high else _HIGH)
            self._since, self._had = now, had
        return self._is_high


class SharedTurn(Turn[W]):
    """A turn that several threads may have at once.

    Few begin as soon as they come. So do many, as long as there is time left in which nobody computes: then the wait for the server is what takes
    long, and it is the same for one as for ten. Once there is none left, one half of the crowd has its work done while the other half does what
    comes before: then groups are as large as can be without a time at which all wait for the server.
    """

    def __init__(self, most: int, load: Load | None = None) -> None:
        super().__init__()
        self.most = most
        """So many may have it at once; who waits while they do is taken along by the next one."""
        self._load = load or Load()
        self._taken: dict[int, int] = {}
        """How much each thread that has the turn has taken; 0 if it is just about to."""
        self._crowd = 0.0
        """How many were here at once lately."""

    def acquire(self, *, blocking: bool = False, timeout: float = -1) -> bool:
        """Take the turn, if it is time; never waits."""
        del blocking, timeout
        with self._lock:
            if self._taken and not self._may_join():
                return False
            self._taken[get_ident()] = 0
        return True

    def _may_join(self) -> bool:
        """Whether it is time for one more."""
        taken, waiting = self._taken.values(), len(self._waiting)
        if not waiting or len(taken) >= self.most or 0 in taken:
            return False
        self._crowd = max(self._crowd * _FADING, waiting + sum(taken))
        if self._crowd <= _FEW or not self._load.is_high():
            return True
        return waiting >= min(MOST, int((self._crowd + 0.9) / 2))  # of 8, one of whom is overdue: 4

    def take_alone(self) -> bool:
        """Take the turn if nobody has it, and nobody waits."""
        with self._lock:
            if self._taken or self._waiting:
                return False
            self._taken[get_ident()] = 1
        return True

    def gather(self, most: int = MOST) -> list[W]:
        """What waits; for one who has the turn."""
        works = self.take(most)
        self._taken[get_ident()] = len(works)
        return works

    def release(self) -> None:
        """Let go, and wake the first of those who wait."""
        with self._lock:
            del self._taken[get_ident()]
        self._wake_first()

    @property
    def is_mine(self) -> bool:
        """See the base class."""
        return get_ident() in self._taken

    def drop(self) -> None:
        """See the base class."""
        if self.is_mine:
            self.release()

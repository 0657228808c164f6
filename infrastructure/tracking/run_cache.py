"""What this process knows of runs, so that it need not read before it appends."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from ...domain.run import RunState
from ...domain.status import RunStatus
from ...domain.values import RunId
from ...projections.ports import NewEvent
from ...projections.run_view import RunView
from ..forks import notice, tell_child

_IDLE_RUNS = 1024
"""Runs remembered that nobody works on."""
_BUSY_RUNS = 100_000
"""Running runs remembered; beyond that the oldest is read again when it is needed."""


Locks = dict[str, tuple[threading.RLock, int]]
"""By run: its lock, and how many threads hold or want it."""


@dataclass(slots=True)
class Entry:
    """One run, as far as this process knows."""

    run_id: RunId
    stored: RunState
    """The run as the store holds it."""
    view: RunView | None
    """The fold of the stored events."""
    state: RunState
    """`stored` with what is unsent on top."""
    unsent: list[NewEvent] = field(default_factory=list[NewEvent])
    """Events that the store has not taken yet, in order."""
    kept_ids: list[str] = field(default_factory=list[str])
    """The ids of all events of the run that wait in the spool, also of those that say nothing new by now."""

    @classmethod
    def unknown(cls, run_id: RunId) -> Entry:
        """A run of which nothing is known."""
        state = RunState(run_id)
        return cls(run_id, state, None, state)

    @property
    def is_waiting(self) -> bool:
        """Whether something of the run is not where it belongs yet."""
        return bool(self.unsent or self.kept_ids)


class Turn:
    """One thread's turn with one run. A class, not a generator: it stands in the way of every append."""

    __slots__ = ("_guard", "_key", "_lock", "_locks")

    def __init__(self, guard: threading.Lock, locks: Locks, key: str) -> None:
        self._guard = guard
        self._locks = locks
        self._key = key

    def __enter__(self) -> None:
        key, locks = self._key, self._locks
        with self._guard:
            lock, users = locks.get(key) or (threading.RLock(), 0)
            locks[key] = (lock, users + 1)
        lock.acquire()
        self._lock = lock

    def __exit__(self, *_: object) -> None:
        key, locks, lock = self._key, self._locks, self._lock
        lock.release()
        with self._guard:
            users = locks[key][1]
            if users == 1:
                del locks[key]
            else:
                locks[key] = (lock, users - 1)


class RunCache:
    """Entries by key, and a lock per run. After a fork the child starts with an empty one."""

    def __init__(self) -> None:
        self._reset()
        tell_child(self)

    def _reset(self) -> None:
        self._guard = threading.Lock()
        self._busy: OrderedDict[str, Entry] = OrderedDict()
        self._idle: OrderedDict[str, Entry] = OrderedDict()
        self._locks: Locks = {}

    def get(self, key: str) -> Entry | None:
        """The entry of a run, if it is remembered."""
        with self._guard:
            return self._busy.get(key) or self._idle.get(key)

    def put(self, key: str, entry: Entry) -> None:
        """Remember the run; what waits to be sent is never forgotten."""
        is_busy = entry.unsent or entry.kept_ids or entry.state.status is RunStatus.RUNNING
        with self._guard:
            busy, idle = self._busy, self._idle
            into, other = (busy, idle) if is_busy else (idle, busy)
            other.pop(key, None)
            into[key] = entry
            into.move_to_end(key)
            if len(idle) > _IDLE_RUNS:
                idle.popitem(last=False)
            if len(busy) > _BUSY_RUNS:
                oldest, candidate = next(iter(busy.items()))
                if candidate.is_waiting:
                    busy.move_to_end(oldest)  # the next one is looked at next time
                else:
                    del busy[oldest]

    def forget(self, key: str) -> None:
        """Drop what is known of a run, unless something of it waits to be sent."""
        with self._guard:
            for entries in (self._busy, self._idle):
                if key in entries and not entries[key].is_waiting:
                    del entries[key]

    def waiting(self) -> list[tuple[str, Entry]]:
        """The runs that have something unsent, oldest first."""
        notice()
        with self._guard:
            return [(key, entry) for key, entry in self._busy.items() if entry.is_waiting]

    def one_at_a_time(self, key: str) -> Turn:
        """A block inside which no other thread is in a block for the same run."""
        notice()
        return Turn(self._guard, self._locks, key)

    def forget_parent(self) -> None:
        """The parent's threads hold its locks and send its events; the child has neither."""
        self._reset()

"""Progress that comes faster than it is worth storing."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

from ...domain.commands import RecordProgress
from ..forks import notice, tell_child


class ProgressThrottle:
    """Lets one report of a run through per interval and holds the newest of the others.

    What is held is stored later, by the background thread or together with the last word: the last report is never lost.
    """

    def __init__(self, interval: timedelta) -> None:
        self._interval = interval
        self._reset()
        tell_child(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._stored_at: dict[str, datetime] = {}
        self._held: dict[str, RecordProgress] = {}

    def offer(self, key: str, command: RecordProgress, now: datetime) -> bool:
        """True when the report is to be stored now; else it is held."""
        notice()
        with self._lock:
            last = self._stored_at.get(key)
            # A clock set back must not stop progress: a last time in the future counts as long ago.
            if last is None or not timedelta(0) <= now - last < self._interval:
                self._stored_at[key] = now
                self._held.pop(key, None)
                return True
            self._held[key] = _merged(self._held.get(key), command)
            return False

    def take(self, key: str) -> RecordProgress | None:
        """The held report of a run, which is then no longer held."""
        if not self._held:
            return None
        with self._lock:
            return self._held.pop(key, None)

    def due(self, now: datetime) -> list[str]:
        """The runs whose held report has waited for an interval."""
        with self._lock:
            return [key for key in self._held if now - self._stored_at[key] >= self._interval]

    def forget(self, key: str) -> None:
        """The run has ended."""
        if not self._stored_at:  # nor is anything held then
            return
        with self._lock:
            self._stored_at.pop(key, None)
            self._held.pop(key, None)

    def forget_parent(self) -> None:
        """After a fork, what is held is the parent's to store."""
        self._reset()


def _merged(older: RecordProgress | None, newer: RecordProgress) -> RecordProgress:
    """The newer report, with the step that only the older one named."""
    if older is None or newer.step is not None or older.step is None:
        return newer
    return RecordProgress(
        current=newer.current,
        total=newer.total,
        step=older.step,
        message=newer.message,
        now=newer.now,
    )

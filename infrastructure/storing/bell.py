"""Waking those who wait in this process."""

from __future__ import annotations

from threading import Condition


class Bell:
    """Wakes those who wait in this process."""

    def __init__(self) -> None:
        self._condition = Condition()
        self._waiting = 0
        self.rung = 0
        """Changes whenever it is rung."""

    def ring(self) -> None:
        """Wake everybody. Takes the lock only when somebody waits: who waits says so before looking at `rung`."""
        self.rung += 1
        if self._waiting:
            with self._condition:
                self._condition.notify_all()

    def wait(self, seen: int, timeout: float) -> None:
        """Block until `rung` is not `seen` any more, for at most `timeout` seconds."""
        with self._condition:
            self._waiting += 1
            try:
                if self.rung == seen:
                    self._condition.wait(timeout)
            finally:
                self._waiting -= 1

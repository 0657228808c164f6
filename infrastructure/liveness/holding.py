"""The runs that this process executes, and the beat that says it lives."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ...domain.values import RunId, run_key
from ..forks import notice, tell_child
from ..telemetry.metrics import RUNS_EXECUTING, count
from .owners import Heartbeat

_BEATS_PER_LEASE = 3
_SHORTEST_INTERVAL = 0.05
"""Seconds; a lease that is shorter than a few of these cannot be kept."""


class Holdings:
    """Keeps account of the runs this process owns; beats in the background while there are any.

    After a fork the runs belong to the parent: the child holds nothing.
    """

    def __init__(self, beat: Callable[[], bool | None], interval: float) -> None:
        self._heartbeat = Heartbeat(beat, interval)
        self._lock = threading.Lock()
        self._held: dict[str, RunId] = {}
        tell_child(self)

    def hold(self, run_id: RunId, lease_seconds: float | None = None) -> None:
        """The run has started here. Its lease is renewed three times before it is over, however short it is."""
        notice()
        key = run_key(run_id)
        with self._lock:
            if key not in self._held:
                count(RUNS_EXECUTING)
            self._held[key] = run_id
        if lease_seconds is not None:
            self._heartbeat.quicken(max(lease_seconds / _BEATS_PER_LEASE, _SHORTEST_INTERVAL))
        self._heartbeat.ensure_running()

    def release(self, key: str) -> None:
        """The run has ended."""
        with self._lock:
            if self._held.pop(key, None) is not None:
                count(RUNS_EXECUTING, -1)

    @property
    def any(self) -> bool:
        """Whether this process owns a run now."""
        notice()
        return bool(self._held)

    def keep_beating(self) -> None:
        """There is background work even if no run is held."""
        self._heartbeat.ensure_running()

    def hurry(self) -> None:
        """Something waits to be delivered: beat soon."""
        self._heartbeat.hurry()

    def stop(self) -> None:
        """End the background thread."""
        self._heartbeat.stop()

    def forget_parent(self) -> None:
        """The child holds nothing."""
        self._lock, self._held = threading.Lock(), {}

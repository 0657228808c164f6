"""A tracker for tests: in memory, on a clock that the test moves, with nothing going on in the background."""

from __future__ import annotations

from ...domain.values import RunId
from ..clock import Clock
from ..liveness.holding import Holdings
from ..settings import Settings
from ..tracking.tracker import RunTracker


class StillTracker(RunTracker):
    """A `RunTracker` in memory for which time passes only when its clock is moved.

    No thread beats: a run whose clock is moved past its lease is silent, unless the test calls `beat()`. Every progress report is
    stored, faults of the store are raised, and no variable of the environment changes a setting.

    >>> from lastword.infrastructure.testing.clock import RunClock
    >>> clock = RunClock()
    >>> with StillTracker(clock) as tracker:
    ...     run_id = tracker.create("import")
    ...     _ = tracker.start(run_id)
    ...     _ = clock.advance(minutes=5)
    ...     tracker.get(run_id).flag.reason
    <FlagReason.SILENT: 'silent'>
    """

    def __init__(self, clock: Clock) -> None:
        settings = Settings.model_construct(  # unlike Settings(), it leaves the environment aside
            url="sqlite:///:memory:", strict=True, progress_interval=0.0
        )
        super().__init__(clock=clock, settings=settings)
        self._holdings = _Unbeaten(self.beat, settings.heartbeat)


class _Unbeaten(Holdings):
    """Knows which runs are held, and starts no thread for them."""

    def hold(self, run_id: RunId, lease_seconds: float | None = None) -> None:
        self._held[str(run_id)] = run_id

    def keep_beating(self) -> None:
        """What waits is stored by the next call of `beat()`."""

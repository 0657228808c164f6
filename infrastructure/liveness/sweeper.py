"""From suspicion to verdict: flagged runs are given up, one event each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from ...domain.commands import DeclareLost
from ...domain.errors import LastwordError, StoreUnavailable
from ...projections.flags import evidence_of
from ...projections.run_view import RunView
from ..clock import Clock
from ..logs import get_logger
from ..tracking.journal import Journal
from ..tracking.reading import RunReader
from ..tracking.receipts import Receipt
from .owners import Heartbeat

log = get_logger("lastword.sweeper")

_LEASES_KEPT = timedelta(days=30)
_SLOW = timedelta(seconds=5)
"""A turn may come this much later than it should on a busy machine."""


def sweep(
    reader: RunReader,
    journal: Journal,
    now: datetime,
    tell: Callable[[Receipt], None] = lambda receipt: None,
) -> list[RunView]:
    """Record `RunLost` for every flagged run whose flag still holds inside the transaction; returns those runs.

    Whoever beats, finishes or sweeps between the look and the verdict wins: the guard, or the version, says no. A run that cannot be
    judged, because its history is damaged or written by a newer release, is logged and does not keep the others waiting. `tell` hears of
    each verdict.
    """
    lost: list[RunView] = []
    for view in reader.flagged(now):
        try:
            receipt = _declare_lost(reader, journal, view, now)
        except StoreUnavailable:
            raise
        except LastwordError as error:
            log.error("lastword.sweep.not_judged", run_id=view.run_id, error=str(error))
            continue
        if receipt is not None and receipt.view is not None:
            tell(receipt)
            lost.append(receipt.view)
    if lost:
        reader.store.forget_leases(now - _LEASES_KEPT)
    return lost


def _declare_lost(
    reader: RunReader, journal: Journal, view: RunView, now: datetime
) -> Receipt | None:
    flag = view.flag
    if flag is None:
        return None

    def still_holds(current: RunView) -> bool:
        # For the same reason: the evidence is that of the look. Outages anew: one may have been written down since.
        found = reader.with_flag(current, now, reader.known_outages(now)).flag
        return found is not None and found.reason is flag.reason

    receipt = journal.execute(
        view.run_id,
        DeclareLost(flag=flag.reason, evidence=evidence_of(view, flag), now=now),
        guard=still_holds,
        strict=True,
    )
    if not receipt.events:
        return None
    log.warning("lastword.run.lost", run_id=view.run_id, flag=flag.reason.value, detail=flag.detail)
    return receipt


class BackgroundSweeper:
    """Sweeps once at the start and then every `interval`, for as long as it runs; None: only at the start.

    After a pause of this process (a suspended machine, SIGSTOP, a clock that was set) the others have been paused as well, for
    all it knows: that turn is left out, so that they can beat first. A sweep that fails is logged, and the next one comes.
    """

    def __init__(
        self, sweep: Callable[[], Sequence[RunView]], clock: Clock, interval: timedelta | None
    ) -> None:
        self._sweep = sweep
        self._clock = clock
        self._interval = interval
        self._last_turn: datetime | None = None
        seconds = None if interval is None else interval.total_seconds()
        self._thread = None if seconds is None else Heartbeat(self.turn, seconds)

    def start(self) -> None:
        """Sweep now; go on in the background if there is an interval."""
        self.turn()
        if self._thread is not None:
            self._thread.ensure_running()

    def turn(self) -> None:
        """One turn: sweep, unless this process was paused since the last one."""
        now = self._clock()
        last, self._last_turn = self._last_turn, now
        if last is not None and self._interval is not None:
            gap = now - last
            if gap < timedelta(0) or gap > 2 * self._interval + _SLOW:
                log.warning("lastword.sweep.left_out", gap_seconds=gap.total_seconds())
                return
        try:
            lost = self._sweep()
        except LastwordError as error:
            log.warning("lastword.sweep.failed", error=str(error))
        else:
            if lost:
                log.warning("lastword.sweep.declared_lost", runs=len(lost))

    def stop(self) -> None:
        """End the background thread."""
        if self._thread is not None:
            self._thread.stop()

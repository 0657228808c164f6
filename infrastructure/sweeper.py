"""From suspicion to verdict: flagged runs are given up, one event each."""

from __future__ import annotations

from datetime import datetime

from ..domain.commands import DeclareLost
from ..domain.errors import LastwordError, StoreUnavailable
from ..projections.flags import evidence_of
from ..projections.run_view import RunView
from .journal import Journal
from .logs import get_logger
from .reading import RunReader

log = get_logger("lastword.sweeper")


def sweep(reader: RunReader, journal: Journal, now: datetime) -> list[RunView]:
    """Record `RunLost` for every flagged run whose flag still holds inside the transaction; returns those runs.

    Whoever beats, finishes or sweeps between the look and the verdict wins: the guard, or the version, says no. A run that cannot be
    judged, because its history is damaged or written by a newer release, is logged and does not keep the others waiting.
    """
    lost: list[RunView] = []
    for view in reader.flagged(now):
        try:
            verdict = _declare_lost(reader, journal, view, now)
        except StoreUnavailable:
            raise
        except LastwordError as error:
            log.error("lastword.sweep.not_judged", run_id=view.run_id, error=str(error))
            continue
        if verdict is not None:
            lost.append(verdict)
    return lost


def _declare_lost(
    reader: RunReader, journal: Journal, view: RunView, now: datetime
) -> RunView | None:
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
    return receipt.view

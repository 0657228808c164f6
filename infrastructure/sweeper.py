"""From suspicion to verdict: flagged runs are given up, one event each."""

from __future__ import annotations

from datetime import datetime

from ..domain.commands import DeclareLost
from ..projections.flags import evidence_of
from ..projections.run_view import RunView
from .journal import Journal
from .logs import get_logger
from .reading import Outages, RunReader

log = get_logger("lastword.sweeper")


def sweep(reader: RunReader, journal: Journal, now: datetime) -> list[RunView]:
    """Record `RunLost` for every flagged run whose flag still holds inside the transaction; returns those runs.

    Whoever beats, finishes or sweeps between the look and the verdict wins: the guard, or the version, says no.
    """
    suspects = reader.flagged(now)
    outages = reader.known_outages(now) if suspects else ()
    verdicts = [_declare_lost(reader, journal, view, now, outages) for view in suspects]
    return [view for view in verdicts if view is not None]


def _declare_lost(
    reader: RunReader, journal: Journal, view: RunView, now: datetime, outages: Outages
) -> RunView | None:
    flag = view.flag
    if flag is None:
        return None
    receipt = journal.execute(
        view.run_id,
        DeclareLost(flag=flag.reason, evidence=evidence_of(view, flag), now=now),
        guard=lambda current: reader.with_flag(current, now, outages).flag is not None,
        strict=True,
    )
    if not receipt.events:
        return None
    log.warning("lastword.run.lost", run_id=view.run_id, flag=flag.reason.value, detail=flag.detail)
    return receipt.view

"""Metrics over the OpenTelemetry API, where it is installed (extra ``telemetry``); else nothing.

lastword.status_update.failures   counter   status updates that the store did not take
lastword.append.retries           counter   appends that were tried again
lastword.spool.pending            gauge     events of this process that wait in the spool
lastword.runs.flagged             gauge     flagged runs, as last looked up
"""

from __future__ import annotations

from functools import cache
from typing import Any

STATUS_UPDATE_FAILURES = "lastword.status_update.failures"
APPEND_RETRIES = "lastword.append.retries"
SPOOL_PENDING = "lastword.spool.pending"
RUNS_FLAGGED = "lastword.runs.flagged"


def count(name: str, amount: int = 1) -> None:
    """Add to a counter.

    >>> count(APPEND_RETRIES)
    """
    counter = _instrument("create_counter", name)
    if counter is not None:
        counter.add(amount)


def gauge(name: str, value: int) -> None:
    """Set a gauge.

    >>> gauge(RUNS_FLAGGED, 0)
    """
    instrument = _instrument("create_gauge", name)
    if instrument is not None:
        instrument.set(value)


@cache
def _instrument(create: str, name: str) -> Any:
    """The instrument, made when it is first used; None without OpenTelemetry."""
    try:
        from opentelemetry import metrics
    except ImportError:
        return None
    return getattr(metrics.get_meter("lastword"), create)(name)

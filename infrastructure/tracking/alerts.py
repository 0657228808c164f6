"""Telling people that a status update did not get where it belongs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ...domain.values import RunId
from ..logs import get_logger
from ..telemetry.metrics import STATUS_UPDATE_FAILURES, count

log = get_logger("lastword.alerts")


@dataclass(frozen=True, slots=True)
class Failure:
    """A status update that the store did not take."""

    run_id: RunId
    events: tuple[str, ...]
    """Stored names of what could not be stored, e.g. ``RunCompleted``."""
    error: Exception
    """Why."""
    kept: bool
    """True when the events are safe in the spool, should this process die; False when only its memory has them."""


class Alerts:
    """Logs each failure at error level, counts it, and calls whoever asked to be told."""

    def __init__(self, callbacks: Iterable[Callable[[Failure], None]] = ()) -> None:
        self._callbacks = list(callbacks)

    def raise_(self, failure: Failure) -> None:
        """Tell everybody. A callback that raises is logged; the others are called all the same."""
        log.error(
            "lastword.status_update.failed",
            run_id=failure.run_id,
            events=failure.events,
            kept=failure.kept,
            error=str(failure.error),
            exc_info=failure.error,
        )
        count(STATUS_UPDATE_FAILURES)
        for callback in self._callbacks:
            try:
                callback(failure)
            except Exception:
                log.error("lastword.alert.callback_failed", run_id=failure.run_id, exc_info=True)

"""What happened to runs, told to the metrics and the spans of this process."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from ...domain.events import RunStarted
from ...domain.values import RunId
from ...projections.run_view import RunView
from ..clock import Clock
from ..liveness.owners import this_owner
from ..logs import get_logger
from .metrics import EVENTS_STORED, RUN_DURATION, RUNS_ENDED, RUNS_STARTED, count, observe
from .spans import RunSpans

if TYPE_CHECKING:
    from ..tracking.receipts import Receipt

log = get_logger("lastword.telemetry")

_UNKNOWN = "(unknown)"
_OUTCOMES = {
    "RunCompleted": "completed",
    "RunFailed": "failed",
    "RunCancelled": "cancelled",
    "RunLost": "lost",
}
"""The words that stand for the last events of a life."""


class RunTelemetry:
    """Hears of every command of one tracker. Nothing that goes wrong here reaches the work."""

    def __init__(self) -> None:
        self._spans = RunSpans()

    def told(self, receipt: Receipt, view: RunView | None, clock: Clock) -> None:
        """These events happened just now, by the clock; `view` is the run as far as it is known."""
        name = _UNKNOWN if view is None else view.name
        stored = receipt.stored
        ours = False
        for event in receipt.events:
            topic = event.TOPIC
            if stored:
                count(EVENTS_STORED, 1, topic)
            if isinstance(event, RunStarted):
                me = this_owner()
                ours = event.owner is me or event.owner == me
                count(RUNS_STARTED, 1, name)
            elif topic in _OUTCOMES:
                outcome = _OUTCOMES[topic]
                count(RUNS_ENDED, 1, name, outcome)
                if view is not None and view.started_at is not None:
                    seconds = (clock() - view.started_at).total_seconds()
                    observe(RUN_DURATION, max(seconds, 0.0), name, outcome)
        if not self._spans.is_wanted:
            return
        try:
            self._spans.told(receipt, view, clock(), ours=ours)
        except Exception:
            log.warning("lastword.telemetry.failed", run_id=receipt.run_id, exc_info=True)

    def current(self, run_id: RunId) -> AbstractContextManager[None]:
        """Inside the block, the run's span is the current one."""
        return self._spans.current(run_id) if self._spans.is_wanted else nullcontext()

    def carrier(self, run_id: RunId) -> Mapping[str, str]:
        """The variables of the environment that carry the run's span to a program which is started for it."""
        if not self._spans.is_wanted:
            return {}
        try:
            return self._spans.carrier(run_id)
        except Exception:
            log.warning("lastword.telemetry.failed", run_id=run_id, exc_info=True)
            return {}

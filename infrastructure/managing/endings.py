"""What subscribers are told when a run ends: decided here, sent by the notifier. Pure."""

from __future__ import annotations

from typing import Any

from ...domain.records import record
from ...domain.redaction import sanitise
from ...domain.status import RunStatus
from ...domain.values import RunId
from ...projections.completion import CompletionSignal, signal, signal_of
from ...projections.run_view import RunView

Message = dict[str, Any]
"""What a subscriber's queue holds: a log message, a report of progress, a warning, or at the end the signal."""


@record()
class Claim:
    """What is known here of a run's end, apart from what the store says."""

    run_id: RunId
    outcome: RunStatus | None = None
    """What the work did; None when that is not known here."""
    error: str | None = None
    """Why the outcome could not be stored; None when nothing went wrong."""
    last_known: RunView | None = None
    """The run as the store is last known to have held it; None when it is not known to have held it at all."""


@record()
class Ending:
    """The last messages to a subscriber."""

    signal: CompletionSignal
    warning: Message | None
    """Goes before the signal; there exactly when the signal has `status_update_failed`."""


def ending_of(claim: Claim, view: RunView | None) -> Ending:
    """What to tell about a run whose work has ended.

    `view` is the projection, read after the attempt to record the outcome; None when it could not be read. Then the last state
    that the store is known to have held counts; a run that the store never held is `pending`.

    >>> ending_of(Claim(17, RunStatus.COMPLETED, error="the store is locked"), None).signal
    {'run_id': 17, 'complete': True, 'db_status': 'pending', 'status_update_failed': True}
    """
    held = view or claim.last_known
    if held is None:
        told = signal(claim.run_id, RunStatus.PENDING, update_failed=True)
    else:
        told = signal_of(held)
    if "status_update_failed" not in told:
        return Ending(told, None)
    return Ending(told, _warning(told["run_id"], claim, held))


def _warning(run_id: RunId, claim: Claim, held: RunView | None) -> Message:
    if claim.outcome is not None:
        why = claim.error or "the store took it and does not hold it any more"
        text, outcome = f"Failed to record {claim.outcome}: {why}", claim.outcome.value
    else:
        why = (held.error_message if held else None) or claim.error or "nothing was reported"
        text, outcome = f"No outcome was recorded: {why}", None
    return {"run_id": run_id, "level": "warning", "message": sanitise(text), "outcome": outcome}

"""Events without what is nobody else's business: the shape of a history stays, what people wrote is gone.

Kept are ids of runs and events, names of runs, times, numbers, statuses, the class of an error, exit codes and signals. Everything else
is replaced by a placeholder of its kind: ``"redacted"`` for text, 0 for a number, false, an empty list or object. In `params`, `tags` and an
object for a `result` the keys of the first level stay. The statuses that the history folds to are the same.
"""

from __future__ import annotations

from typing import Any

from ...domain.events import (
    CancellationRequested,
    OutcomeContradicted,
    RecordedEvent,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunErased,
    RunEvent,
    RunFailed,
    RunLost,
    RunProgressed,
    RunStarted,
)

REDACTED = "redacted"
"""Stands for every text that was taken out."""

_OWNER = {"pid": None, "started_at": None}
_KEPT: dict[type[RunEvent], dict[str, Any]] = {
    RunCreated: dict.fromkeys(
        ("name", "parent_id", "attempt", "retry_of", "deadline_at", "lease_seconds")
    ),
    RunStarted: {"owner": _OWNER},
    RunProgressed: dict.fromkeys(("current", "total")),
    CancellationRequested: {},
    RunCompleted: {},
    RunFailed: {"error": {"type": None}, "exit_code": None, "signal": None},
    RunCancelled: {},
    RunLost: {
        "flag": None,
        "evidence": {
            **dict.fromkeys(("since", "last_seen_at", "lease_seconds", "deadline_at")),
            "owner": _OWNER,
        },
    },
    OutcomeContradicted: {"claimed": None},
    RunErased: {"store_id": None},
}
"""What stays of each event; a dict means that the field has parts. What is not named here, also what a newer release added, goes."""

_LEFT_OUT = frozenset({"leaves"})
"""Digests of what was there before: whoever has a guess could check it."""
_KEYS_KEPT = frozenset({"params", "tags", "result"})


def redacted(recorded: RecordedEvent) -> RecordedEvent:
    """The event with placeholders; its id, its run, its version and its times stay.

    >>> from ...domain.values import EPOCH
    >>> event = RunCreated(name="import", params={"folder": "/home/ann", "deep": {"a": 1}}, actor="ann")
    >>> recorded = RecordedEvent(run_id=17, version=1, position=1, event_id="0" * 32, event=event,
    ...     occurred_at=EPOCH, recorded_at=EPOCH, actor="ann")
    >>> hidden = redacted(recorded)
    >>> hidden.event.params, hidden.event.actor, hidden.actor, hidden.event.name
    ({'folder': 'redacted', 'deep': {}}, 'redacted', 'redacted', 'import')
    """
    event = recorded.event
    facts = _hidden(event.model_dump(mode="json", exclude_none=True), _KEPT[type(event)])
    if "exclusive" in facts:  # two runs that were active at once must not seem to share one
        facts["exclusive"] = f"{REDACTED} {recorded.run_id}"[:200]
    return recorded.model_copy(
        update={
            "event": type(event).model_validate(facts),
            "actor": recorded.actor and REDACTED,
            "correlation_id": recorded.correlation_id and REDACTED,
        }
    )


def _hidden(facts: dict[str, Any], kept: dict[str, Any]) -> dict[str, Any]:
    hidden: dict[str, Any] = {}
    for name, value in facts.items():
        if name in _LEFT_OUT:
            continue
        parts = kept.get(name)
        if parts is not None:
            hidden[name] = _hidden(value, parts)
        elif name in kept:
            hidden[name] = value
        elif name in _KEYS_KEPT and isinstance(value, dict):
            hidden[name] = {key: _placeholder(item) for key, item in value.items()}
        else:
            hidden[name] = _placeholder(value)
    return hidden


def _placeholder(value: Any) -> Any:
    """Of the same kind; None stays, as it says nothing."""
    if value is None:
        return None
    if isinstance(value, str):
        return REDACTED
    return type(value)()  # 0, 0.0, False, [] or {}

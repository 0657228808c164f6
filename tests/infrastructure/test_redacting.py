"""A redacted history has its shape, and nothing that people wrote."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lastword import RunTracker
from lastword.domain.events import (
    EVENT_TYPES,
    CancellationRequested,
    Evidence,
    OutcomeContradicted,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunEvent,
    RunFailed,
    RunLost,
    RunProgressed,
    RunStarted,
)
from lastword.domain.status import FlagReason, RunStatus
from lastword.domain.values import ErrorInfo, Owner
from lastword.infrastructure.exchange import redacting
from lastword.infrastructure.exchange.lines import line_of, read_lines
from lastword.infrastructure.exchange.redacting import redacted
from lastword.projections.run_view import fold_view
from lastword.testing import START, recorded
from strategies import event_strategies

SECRET = "s3cret"
OWNER = Owner(host=SECRET, pid=7, started_at=START, boot_id=SECRET, namespace=SECRET)
SECRETIVE: list[RunEvent] = [
    RunCreated.model_validate(
        {
            "name": "import",
            "params": {
                "folder": SECRET,
                "deep": {SECRET: [SECRET]},
                "list": [SECRET],
                "n": 5,
                "none": None,
            },
            "tags": {"team": SECRET},
            "actor": SECRET,
            "correlation_id": SECRET,
            "exclusive": SECRET,
            "of_a_newer_release": {"who": SECRET},
        }
    ),
    RunStarted(owner=OWNER),
    RunProgressed(current=3, total=10, step=SECRET, message=SECRET),
    CancellationRequested(reason=SECRET, actor=SECRET),
    RunLost(
        flag=FlagReason.SILENT, evidence=Evidence(detail=SECRET, lease_seconds=60.0, owner=OWNER)
    ),
    RunCompleted(result={"rows": 10, "path": SECRET, "deep": {SECRET: SECRET}}, note=SECRET),
    RunFailed(
        error=ErrorInfo(type="OSError", message=SECRET, traceback=SECRET),
        exit_code=3,
        signal="SIGKILL",
        note=SECRET,
    ),
    RunCancelled(reason=SECRET, actor=SECRET),
    OutcomeContradicted(claimed=RunStatus.FAILED, detail=SECRET),
]
FACTS: dict[type[RunEvent], Any] = {
    RunCreated: {
        "name": "import",
        "params": {"folder": "redacted", "deep": {}, "list": [], "n": 0, "none": None},
        "tags": {"team": "redacted"},
        "actor": "redacted",
        "correlation_id": "redacted",
        "attempt": 1,
        "exclusive": "redacted 1",
        "lease_seconds": 60.0,
        "of_a_newer_release": {},
    },
    RunStarted: {
        "owner": {
            "host": "redacted",
            "pid": 7,
            "started_at": "2026-01-01T00:00:00Z",
            "boot_id": "redacted",
            "namespace": "redacted",
        }
    },
    RunProgressed: {"current": 3, "total": 10, "step": "redacted", "message": "redacted"},
    CancellationRequested: {"reason": "redacted", "actor": "redacted"},
    RunCompleted: {"result": {"rows": 0, "path": "redacted", "deep": {}}, "note": "redacted"},
    RunFailed: {
        "error": {"type": "OSError", "message": "redacted", "traceback": "redacted"},
        "exit_code": 3,
        "signal": "SIGKILL",
        "note": "redacted",
    },
    RunCancelled: {"reason": "redacted", "actor": "redacted"},
    OutcomeContradicted: {"claimed": "failed", "detail": "redacted"},
}


def facts_of(event: RunEvent) -> Any:
    return json.loads(event.model_dump_json(exclude_none=True))


@pytest.mark.parametrize("event", SECRETIVE, ids=lambda event: event.TOPIC)
def test_what_people_wrote_is_gone(event: RunEvent) -> None:
    """And what is left is of the same kind."""
    (secretive,) = recorded(event)
    secretive = secretive.model_copy(update={"actor": SECRET, "correlation_id": SECRET})
    line = line_of(redacted(secretive), "urn:example")
    assert SECRET.encode() not in line
    ((_, read),) = read_lines([line], "a")
    assert ("redacted", "redacted") == (read.actor, read.correlation_id)
    if type(event) in FACTS:
        assert FACTS[type(event)] == facts_of(read.event)


def test_of_a_verdict_its_times_and_numbers_stay() -> None:
    """Not what it says of the process."""
    (lost,) = recorded(SECRETIVE[4])
    evidence = facts_of(redacted(lost).event)["evidence"]
    assert ("redacted", 60.0, 7) == (
        evidence["detail"],
        evidence["lease_seconds"],
        evidence["owner"]["pid"],
    )


@pytest.mark.parametrize("value", [SECRET, 5, 1.5, True, [SECRET, 1], {"a": [1]}, None])
def test_a_result_of_any_kind_keeps_its_kind(value: Any) -> None:
    """A reader that looks at types finds the same ones."""
    (completed,) = recorded(RunCompleted(result=value))
    event = redacted(completed).event
    assert isinstance(event, RunCompleted)
    assert type(value) is type(event.result)
    assert SECRET not in str(event.result)


def test_every_event_has_a_rule() -> None:
    """A new event needs one: what may stay of it is decided, not guessed."""
    assert set(EVENT_TYPES) == set(redacting._KEPT)
    for kind, kept in redacting._KEPT.items():
        assert set(kept) <= set(kind.model_fields)


@given(st.lists(st.one_of([event_strategies[kind] for kind in EVENT_TYPES]), max_size=8))
@settings(max_examples=60)
def test_the_shape_stays(events: list[RunEvent]) -> None:
    """The history folds to the same statuses, times and numbers, and each event has the same fields."""
    history = recorded(RunCreated(name="import"), *events)
    hidden = [redacted(event) for event in history]
    before, after = fold_view(history), fold_view(hidden)
    assert before is not None
    assert after is not None
    for name in (
        *(
            "run_id",
            "name",
            "status",
            "status_update_failed",
            "contradicted",
            "version",
            "position",
        ),
        *("created_at", "started_at", "finished_at", "cancel_requested_at", "last_seen_at"),
        *(
            "progress_current",
            "progress_total",
            "exit_code",
            "error_type",
            "attempt",
            "deadline_at",
        ),
    ):
        assert getattr(before, name) == getattr(after, name), name
    left_out = {"leaves"}
    for one, two in zip(history, hidden, strict=True):
        kept = {"event", "actor", "correlation_id"}
        assert one.model_dump(exclude=kept) == two.model_dump(exclude=kept)
        assert set(facts_of(one.event)) - left_out == set(facts_of(two.event)) - left_out
        assert redacted(two) == two


def test_a_redacted_export_can_be_imported() -> None:
    """Also with runs that are active at once under keys of their own; but not into the store that has the words."""
    with RunTracker("sqlite:///:memory:") as tracker, RunTracker("sqlite:///:memory:") as other:
        for number in range(3):
            tracker.create("import", run_id=number, exclusive=f"key {number}", actor="ann")
            tracker.start(number)
        tracker.fail(0, OSError("no space on ann's disk"))
        lines = list(tracker.export(redact=True))
        assert b"ann" not in b"".join(lines)
        assert 3 == other.import_events(lines).new_runs
        assert tracker.counts() == other.counts()
        assert other.verify().ok
        assert ("OSError", "redacted") == (other.get(0).error_type, other.get(0).error_message)
        with pytest.raises(ValueError, match=r"field data, actor: .* as the store has it"):
            tracker.import_events(lines)

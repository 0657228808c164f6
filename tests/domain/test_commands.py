"""Commands refuse bad facts when they are made, before any rule sees them."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastword.domain.commands import (
    CancelRun,
    CompleteRun,
    CreateRun,
    DeclareLost,
    RecordProgress,
    RequestCancellation,
)
from lastword.domain.errors import InvalidInput
from lastword.domain.events import Evidence
from lastword.domain.status import FlagReason
from lastword.domain.values import shown

SURROGATE = "\ud800"

CREATIONS: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "name: expected 1 to 200 printable characters, found ''"),
    ({"name": None}, "name: expected a str, found NoneType"),
    ({"params": None}, "params: expected a dict, found NoneType"),
    ({"params": [("a", 1)]}, "params: expected a dict, found list"),
    (
        {"params": {"a": {1}}},
        "params: expected plain JSON, found something else: Object of type set",
    ),
    ({"params": {"a": SURROGATE}}, "params: expected plain JSON, found something else: 'utf-8'"),
    ({"params": {SURROGATE: 1}}, "params: expected plain JSON, found something else: 'utf-8'"),
    ({"params": {1: 2}}, "params: expected plain JSON, found something else: the key 1 is int"),
    (
        {"params": {"a": "xx"}, "payload_limit": 9},
        "params: expected at most 9 bytes of JSON, found 10",
    ),
    ({"tags": {"a": 1}}, "tags: expected str keys and values, found 'a': 1; write '1'"),
    ({"tags": {str(n): "" for n in range(101)}}, "tags: expected at most 100, found 101"),
    ({"actor": ""}, "actor: expected 1 to 200 printable characters, found ''"),
    ({"actor": 7}, "actor: expected a str, found int"),
    (
        {"correlation_id": "a\n"},
        r"correlation_id: expected 1 to 200 printable characters, found 'a\n'",
    ),
    ({"exclusive": "x" * 201}, "exclusive: expected 1 to 200 printable characters, found 'xxx"),
    ({"parent_id": True}, "run id: expected a str or an int, found bool True"),
    ({"retry_of": ""}, "run id: expected 1 to 200 printable characters"),
    ({"attempt": 0}, "attempt: expected 1 or more, found 0"),
    ({"attempt": True}, "attempt: expected 1 or more, found True"),
    ({"attempt": "2"}, "attempt: expected 1 or more, found '2'"),
    ({"attempt": 1.5}, "attempt: expected 1 or more, found 1.5"),
    ({"attempt": None}, "attempt: expected 1 or more, found None"),
    ({"lease_seconds": 0}, "lease: expected a positive number of seconds, found 0"),
    ({"lease_seconds": -1.0}, "lease: expected a positive number of seconds, found -1.0"),
    ({"lease_seconds": float("nan")}, "lease: expected a positive number of seconds, found nan"),
    ({"lease_seconds": float("inf")}, "lease: expected a positive number of seconds, found inf"),
    ({"lease_seconds": "60"}, "lease: expected a positive number of seconds, found '60'"),
    ({"lease_seconds": True}, "lease: expected a positive number of seconds, found True"),
    (
        {"deadline_at": datetime(2026, 1, 1)},  # noqa: DTZ001  # that is the point
        "deadline: expected an aware datetime, found naive 2026-01-01T00:00:00;",
    ),
    ({"deadline_at": "now"}, "deadline: expected an aware datetime, found str 'now'"),
]


def _with_a_name(facts: dict[str, Any]) -> dict[str, Any]:
    return {"name": "import", **facts}


@pytest.mark.parametrize(("facts", "message"), CREATIONS, ids=shown)
def test_a_creation_with_bad_facts_is_refused(facts: dict[str, Any], message: str):
    """Nothing is written, and the message says which fact it was."""
    with pytest.raises(InvalidInput) as caught:
        CreateRun(**_with_a_name(facts))
    assert str(caught.value).startswith(message)


def test_a_creation_keeps_its_facts_in_one_form():
    """Params are plain JSON of their own, tags a dict, times in UTC."""
    params = {"a": (1, 2)}
    local = datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))
    command = CreateRun(name="import", params=params, tags={"a": "b"}, deadline_at=local)  # pyright: ignore[reportArgumentType]  # a tuple is fine
    assert {"a": [1, 2]} == command.params
    assert "2026-01-01T00:00:00+00:00" == str(
        command.deadline_at and command.deadline_at.isoformat()
    )
    assert {"a": "b"} == command.tags


def test_a_creation_says_little_by_default():
    """First attempt, a lease of a minute, nothing else."""
    command = CreateRun(name="import")
    assert (1, 60.0, {}, {}) == (
        command.attempt,
        command.lease_seconds,
        command.params,
        command.tags,
    )
    assert {None} == {
        command.actor,
        command.correlation_id,
        command.parent_id,
        command.retry_of,
        command.exclusive,
        command.deadline_at,
        command.now,
    }
    assert CreateRun(name="import").params is not command.params


@pytest.mark.parametrize("lease", [1, 0.001, 1e300])
def test_any_positive_lease_is_fine(lease: float):
    """An int or a float of seconds."""
    assert lease == CreateRun(name="import", lease_seconds=lease).lease_seconds


@pytest.mark.parametrize("run_id", [0, 7, "7", "first"])
def test_relatives_keep_their_type(run_id: int | str):
    """A parent is named as its own run was."""
    command = CreateRun(name="import", parent_id=run_id, retry_of=run_id)
    assert (run_id, run_id) == (command.parent_id, command.retry_of)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"current": None}, "progress: expected a finite number for current, found None"),
        ({"current": True}, "progress: expected a finite number for current, found True"),
        ({"current": "3"}, "progress: expected a finite number for current, found '3'"),
        ({"current": float("nan")}, "progress: expected a finite number for current, found nan"),
        ({"current": float("-inf")}, "progress: expected a finite number for current, found -inf"),
        ({"current": 10**400}, "progress: expected a finite number for current, found 1000000"),
        (
            {"current": 10**5000},
            "progress: expected a finite number for current, found a int that cannot be shown",
        ),
        (
            {"current": 1, "total": False},
            "progress: expected a finite number for total, found False",
        ),
        (
            {"current": 1, "total": float("inf")},
            "progress: expected a finite number for total, fou",
        ),
        ({"current": 1, "step": 7}, "step: expected a str, found int"),
        ({"current": 1, "step": "x" * 1025}, "step: expected at most 1024 characters, found 1025"),
        ({"current": 1, "message": "x" * 1025}, "message: expected at most 1024 characters, found"),
        ({"current": 1, "message": SURROGATE}, "message: expected text that UTF-8 can hold"),
    ],
    ids=shown,
)
def test_progress_with_bad_facts_is_refused(facts: dict[str, Any], message: str):
    """Numbers are finite, texts are short."""
    with pytest.raises(InvalidInput) as caught:
        RecordProgress(**facts)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(("current", "total"), [(0, 0), (-1.5, None), (10**300, 1e300), (3, 2)])
def test_progress_is_in_the_unit_of_the_caller(current: float, total: float | None):
    """Zero, less than nothing and more than all are the caller's to judge."""
    command = RecordProgress(current=current, total=total, step="", message="")
    assert (current, total) == (command.current, command.total)


@pytest.mark.parametrize("kind", [RequestCancellation, CancelRun])
@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"reason": 7}, "reason: expected a str, found int"),
        ({"reason": "x" * 1025}, "reason: expected at most 1024 characters, found 1025"),
        ({"reason": SURROGATE}, "reason: expected text that UTF-8 can hold"),
        ({"actor": ""}, "actor: expected 1 to 200 printable characters, found ''"),
    ],
    ids=shown,
)
def test_a_cancellation_with_bad_facts_is_refused(kind: Any, facts: dict[str, Any], message: str):
    """A reason is a short text, an actor a name."""
    with pytest.raises(InvalidInput) as caught:
        kind(**facts)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("kind", [RequestCancellation, CancelRun])
def test_a_cancellation_needs_no_reason(kind: Any):
    """Nobody has to explain themselves; an empty reason is fine as well."""
    assert (None, None) == (kind().reason, kind().actor)
    assert ("", "ann") == (kind(reason="", actor="ann").reason, kind(actor="ann").actor)


def test_a_verdict_without_evidence_has_empty_evidence():
    """The flag alone is enough."""
    assert Evidence() == DeclareLost(flag=FlagReason.SILENT).evidence


def test_a_command_does_not_change():
    """What was asked was asked."""
    command = CompleteRun(result=1)
    with pytest.raises(FrozenInstanceError):
        command.result = 2  # pyright: ignore[reportAttributeAccessIssue]  # that is the point


anything = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.lists(st.text())
    | st.dictionaries(st.integers() | st.text(), st.integers() | st.text())
    | st.datetimes()
    | st.just(10**5000)
)
facts_of_a_creation = st.fixed_dictionaries(
    {"name": anything},
    optional=dict.fromkeys(
        (
            "params",
            "tags",
            "actor",
            "correlation_id",
            "parent_id",
            "attempt",
            "retry_of",
            "exclusive",
            "deadline_at",
            "lease_seconds",
        ),
        anything,
    ),
)


def _made_or_refused(kind: Any, facts: dict[str, Any]) -> bool:
    """True for a command, and for the error with a message; any other error comes out."""
    try:
        return isinstance(kind(**facts), kind)
    except InvalidInput as error:
        return len(str(error)) < 500


@given(facts_of_a_creation)
def test_a_creation_from_anything_is_made_or_refused(facts: dict[str, Any]):
    """Whatever comes in, the one error for it comes out."""
    assert _made_or_refused(CreateRun, facts)


@given(anything, anything, anything, anything)
def test_progress_from_anything_is_made_or_refused(current: Any, total: Any, step: Any, note: Any):
    """Whatever comes in, the one error for it comes out."""
    facts = {"current": current, "total": total, "step": step, "message": note}
    assert _made_or_refused(RecordProgress, facts)

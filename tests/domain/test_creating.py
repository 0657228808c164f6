"""What makes a run the same run, and what is recorded of its creation."""

from __future__ import annotations

from typing import Any

import pytest

from lastword.domain.commands import CreateRun
from lastword.domain.errors import RunAlreadyExists
from lastword.domain.events import (
    CancellationRequested,
    Evidence,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunEvent,
    RunFailed,
    RunLost,
    RunStarted,
)
from lastword.domain.run import decide, fold
from lastword.domain.status import FlagReason
from lastword.domain.values import ErrorInfo
from lastword.testing import OWNER, given

CREATED = RunCreated(name="import", params={"folder": "in"})
STARTED = RunStarted(owner=OWNER)


@pytest.mark.parametrize(
    "since",
    [
        (),
        (STARTED,),
        (STARTED, CancellationRequested(reason="user")),
        (STARTED, RunCompleted(result=1)),
        (STARTED, RunFailed(error=ErrorInfo(type="ValueError", message="no rows"))),
        (STARTED, RunCancelled(reason="user")),
        (STARTED, RunLost(flag=FlagReason.SILENT, evidence=Evidence(detail="silent for 90 s"))),
    ],
    ids=lambda since: since[-1].TOPIC if since else "pending",
)
def test_another_name_under_a_taken_id_is_refused(since: tuple[RunEvent, ...]):
    """The id belongs to the run with the first name, and the message says both names."""
    scenario = given(CREATED, *since).when(CreateRun(name="export", params={"folder": "in"}))
    scenario.then_raises(RunAlreadyExists, match="it exists with the name 'import', not 'export';")


@pytest.mark.parametrize("params", [{}, {"folder": "out"}, {"folder": "in", "more": 1}])
def test_other_params_under_a_taken_id_are_refused(params: dict):
    """The same name with other params is other content."""
    scenario = given(CREATED).when(CreateRun(name="import", params=params))
    scenario.then_raises(RunAlreadyExists, match="it exists with other params;")


def test_true_and_one_are_other_params():
    """Python takes them for equal; JSON does not."""
    created = RunCreated(name="import", params={"dry": 1})
    given(created).when(CreateRun(name="import", params={"dry": True})).then_raises(
        RunAlreadyExists
    )


def test_the_order_of_keys_is_no_difference():
    """An object is the same in any order of its keys."""
    created = RunCreated(name="import", params={"a": 1, "b": [2, {"c": 3, "d": 4}]})
    again = CreateRun(name="import", params={"b": [2, {"d": 4, "c": 3}], "a": 1})
    given(created).when(again).then_nothing()


def test_tags_and_actor_are_no_part_of_the_identity():
    """Only name and params decide whether it is the same run."""
    again = CreateRun(name="import", params={"folder": "in"}, tags={"a": "b"}, actor="api")
    given(CREATED).when(again).then_nothing()


def test_everything_said_at_creation_is_recorded():
    """No fact of the command gets lost on the way into the event."""
    facts = {
        "name": "import",
        "params": {"a": [1]},
        "tags": {"team": "data"},
        "actor": "api",
        "correlation_id": "req-1",
        "parent_id": 7,
        "attempt": 2,
        "retry_of": "first",
        "exclusive": "import",
        "deadline_at": OWNER.started_at,
        "lease_seconds": 5.0,
    }
    assert set(RunCreated.model_fields) == set(facts)
    given().when(CreateRun(**facts)).then(RunCreated(**facts))


class Text(str):
    """A kind of text, as some libraries have them."""

    __slots__ = ()


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"lease_seconds": 60},
        {"actor": Text("api")},
        {"tags": {Text("team"): Text("data")}},
        {"deadline_at": OWNER.started_at, "parent_id": 7},
    ],
    ids=", ".join,
)
def test_a_creation_is_recorded_in_plain_types(facts: dict[str, Any]):
    """As validation leaves them, also where it is left out because it would change nothing."""

    def kinds(event: RunEvent) -> list[tuple[str, type]]:
        assert isinstance(event, RunCreated)
        tags = ((text, text) for pair in event.tags.items() for text in pair)
        return [(name, type(value)) for name, value in (*event, *tags)]

    (event,) = decide(CreateRun(name="import", **facts), fold(1, []))
    expected = RunCreated(name="import", **facts)
    assert expected == event
    assert kinds(expected) == kinds(event)

"""A run's events as OpenLineage run events."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlparse

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
from openlineage.client.facet_v2 import error_message_run, job_type_job, parent_run, tags_run
from openlineage.client.serde import Serde

from lastword.domain.errors import InvalidInput
from lastword.domain.events import (
    CancellationRequested,
    OutcomeContradicted,
    RecordedEvent,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunFailed,
    RunLost,
    RunProgressed,
    RunStarted,
)
from lastword.domain.status import FlagReason, RunStatus
from lastword.domain.values import ErrorInfo
from lastword.infrastructure.exchange.openlineage import (
    OpenLineageMapping,
    openlineage_lines,
    openlineage_run_id,
)
from lastword.infrastructure.testing.histories import OWNER, recorded
from strategies import event_strategies, run_ids

UUID_ID = "0192f5a0-5f9e-7c31-8f4e-2f1f6f0f7a10"
FAILED = RunFailed(error=ErrorInfo(type="ValueError", message="no rows"))
STANDARD: dict[str, Callable[..., Any]] = {
    "errorMessage": error_message_run.ErrorMessageRunFacet,
    "tags": lambda tags, **base: tags_run.TagsRunFacet(
        tags=[tags_run.TagsRunFacetFields(**tag) for tag in tags], **base
    ),
    "parent": lambda run, job, **base: parent_run.ParentRunFacet(
        run=parent_run.Run(**run), job=parent_run.Job(**job), **base
    ),
    "jobType": job_type_job.JobTypeJobFacet,
}
"""What makes a standard facet, with all the checks that openlineage-python has for it."""


def mapped(events: list[RecordedEvent], **options: Any) -> list[dict[str, Any]]:
    """What the exported lines hold."""
    return [json.loads(line) for line in openlineage_lines(events, **options)]


def kinds(events: list[RecordedEvent]) -> list[str]:
    return [event["eventType"] for event in mapped(events)]


def facets(event: dict[str, Any]) -> dict[str, Any]:
    return event["run"]["facets"]


def without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        plain = {key: without_empty(item) for key, item in value.items()}
        return {key: item for key, item in plain.items() if item not in ({}, None)}
    return value


def assert_valid(event: dict[str, Any]) -> None:
    """The classes of openlineage-python, made from the specification's JSON schemas, say exactly the same."""
    made = RunEvent(
        eventType=RunState(event["eventType"]),
        eventTime=event["eventTime"],
        run=Run(event["run"]["runId"]),
        job=Job(event["job"]["namespace"], event["job"]["name"]),
        inputs=event["inputs"],
        outputs=event["outputs"],
        producer=event["producer"],
    )
    bare = {
        **event,
        "run": {"runId": event["run"]["runId"]},
        "job": {key: event["job"][key] for key in ("namespace", "name")},
    }
    assert without_empty(Serde.to_dict(made)) == without_empty(bare)
    for name, facet in {**facets(event), **event["job"]["facets"]}.items():
        assert urlparse(facet["_producer"]).scheme
        assert urlparse(facet["_schemaURL"]).scheme
        if not name.startswith("lastword_"):
            fields = {key: item for key, item in facet.items() if not key.startswith("_")}
            again = STANDARD[name](**fields, producer=facet["_producer"])
            assert without_empty(Serde.to_dict(again)) == without_empty(facet)


def test_each_event_has_its_type() -> None:
    """A whole life reads as OpenLineage's run cycle."""
    history = recorded(
        RunCreated(name="import"),
        RunStarted(owner=OWNER),
        RunProgressed(current=1, total=2),
        CancellationRequested(),
        RunCompleted(result=1),
        OutcomeContradicted(claimed=RunStatus.FAILED),
    )
    expected = ["OTHER", "START", "RUNNING", "OTHER", "COMPLETE", "OTHER"]
    assert expected == kinds(history)
    for event in mapped(history):
        assert_valid(event)


@pytest.mark.parametrize(
    ("outcome", "kind"), [(FAILED, "FAIL"), (RunCancelled(), "ABORT"), (RunCompleted(), "COMPLETE")]
)
def test_each_outcome_has_its_type(outcome: Any, kind: str) -> None:
    """The three last words are OpenLineage's three terminal types."""
    assert kind == kinds(recorded(RunCreated(name="a"), RunStarted(owner=OWNER), outcome))[-1]


def test_an_event_says_who_when_and_what() -> None:
    """Id, job, time and producer are where the specification has them; the envelope is in a facet."""
    (event,) = mapped(recorded(RunCreated(name="import", actor="cron"), run_id=UUID_ID))
    assert UUID_ID == event["run"]["runId"]
    assert ("lastword", "import") == (event["job"]["namespace"], event["job"]["name"])
    assert "2026-01-01T00:00:00Z" == event["eventTime"]
    assert (
        "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent" == event["schemaURL"]
    )
    assert ("cron", 1) == (
        facets(event)["lastword_run"]["actor"],
        facets(event)["lastword_run"]["attempt"],
    )
    assert "RunCreated" == facets(event)["lastword_event"]["event"]
    assert f"{1:032x}" == facets(event)["lastword_event"]["event_id"]


def test_another_id_becomes_a_uuid_and_is_kept() -> None:
    """OpenLineage takes UUIDs only; the id as the caller knows it, and its type, are in a facet."""
    (event,) = mapped(recorded(RunCreated(name="import"), run_id=17))
    assert openlineage_run_id(17) == event["run"]["runId"]
    run = facets(event)["lastword_run"]
    assert ("17", "int") == (run["run_id"], run["run_id_type"])


@for_all(
    st.lists(
        run_ids | st.uuids().map(str) | st.uuids().map(lambda u: str(u).upper()), unique_by=str
    )
)
def test_different_runs_have_different_uuids(ids: list[int | str]) -> None:
    """Also ids that differ in nothing but case, and UUIDs that are written in another way."""
    usable = [run_id for run_id in ids if str(run_id) == str(run_id).strip()]
    assert len(usable) == len({openlineage_run_id(run_id) for run_id in usable})


def test_stores_with_the_same_ids_are_told_apart_by_their_namespace() -> None:
    """Run 1 of one store is not run 1 of another."""
    history = recorded(RunCreated(name="import"))
    (one,), (other,) = mapped(history, namespace="a"), mapped(history, namespace="b")
    assert one["run"]["runId"] != other["run"]["runId"]
    assert "b" == other["job"]["namespace"]


def test_params_tags_progress_and_owner_have_their_facets() -> None:
    """What other tools can show is in standard facets, the rest in ours."""
    created, started, progressed = mapped(
        recorded(
            RunCreated(name="a", params={"folder": "in"}, tags={"team": "data"}),
            RunStarted(owner=OWNER),
            RunProgressed(current=3, total=10, step="extract"),
        )
    )
    assert {"folder": "in"} == facets(created)["lastword_params"]["params"]
    tag = {"key": "team", "value": "data", "source": "LASTWORD"}
    assert [tag] == facets(created)["tags"]["tags"]
    assert (OWNER.host, OWNER.pid) == (
        facets(started)["lastword_owner"]["host"],
        facets(started)["lastword_owner"]["pid"],
    )
    assert (3, "extract") == (
        facets(progressed)["lastword_progress"]["current"],
        facets(progressed)["lastword_progress"]["step"],
    )


def test_an_error_has_the_facet_for_errors() -> None:
    """Type and message for people; a command is no Python."""
    command = RunFailed(error=ErrorInfo(type="ExitCode", message="exit code 2"), exit_code=2)
    for event, language in ((FAILED, "PYTHON"), (command, "UNKNOWN")):
        failed = mapped(recorded(RunCreated(name="a"), RunStarted(owner=OWNER), event))[-1]
        error = facets(failed)["errorMessage"]
        assert f"{event.error.type}: {event.error.message}" == error["message"]
        assert language == error["programmingLanguage"]
    assert 2 == facets(failed)["lastword_outcome"]["exit_code"]


def test_a_run_that_was_never_started_gets_a_start_before_its_end() -> None:
    """The specification wants one START for each run; ours says that it was added, and there is one only."""
    history = recorded(
        RunCreated(name="a"), RunLost(flag=FlagReason.NEVER_STARTED), RunFailed(error=FAILED.error)
    )
    events = mapped(history)
    assert ["OTHER", "START", "FAIL", "FAIL"] == [event["eventType"] for event in events]
    assert facets(events[1])["lastword_event"]["added"]
    assert "added" not in facets(events[2])["lastword_event"]


def test_a_lost_run_fails_and_its_real_outcome_says_that_it_supersedes_the_verdict() -> None:
    """Both are terminal for OpenLineage; the facet tells which one is the tracker's own."""
    history = recorded(
        RunCreated(name="a"),
        RunStarted(owner=OWNER),
        RunLost(flag=FlagReason.SILENT),
        RunCompleted(),
        OutcomeContradicted(claimed=RunStatus.FAILED, detail="late"),
    )
    _, _, lost, completed, contradicted = mapped(history)
    assert lost["eventType"] == "FAIL"
    assert facets(lost)["lastword_verdict"]["status_update_failed"] is True
    assert "silent" == facets(lost)["lastword_verdict"]["flag"]
    assert "RunLost" == facets(completed)["lastword_verdict"]["supersedes"]
    assert facets(completed)["lastword_verdict"]["status_update_failed"] is False
    assert ("failed", "late") == (
        facets(contradicted)["lastword_contradiction"]["claimed"],
        facets(contradicted)["lastword_contradiction"]["detail"],
    )


def test_a_child_names_its_parent() -> None:
    """The parent facet needs the name of the parent's job, from the events or from the store."""
    parent = recorded(RunCreated(name="nightly"), run_id=1)
    child = recorded(RunCreated(name="import", parent_id=1), run_id=2)
    for events in (
        mapped([*parent, *child]),
        mapped(child, history=lambda run_id: parent if str(run_id) == "1" else []),
    ):
        said = facets(events[-1])["parent"]
        assert openlineage_run_id(1) == said["run"]["runId"]
        assert "nightly" == said["job"]["name"]
        assert_valid(events[-1])
    (alone,) = mapped(child)
    assert "parent" not in facets(alone)
    assert "1" == facets(alone)["lastword_run"]["parent_id"]


def test_an_infinite_number_is_text() -> None:
    """JSON has no infinity, and one odd report must not stop an export."""
    history = recorded(
        RunCreated(name="a"), RunStarted(owner=OWNER), RunProgressed(current=float("inf"))
    )
    assert "Infinity" == facets(mapped(history)[-1])["lastword_progress"]["current"]


def test_the_end_of_a_run_without_its_beginning_is_refused() -> None:
    """The job's name is in the first event; without a store to ask, it is not known."""
    history = recorded(RunCreated(name="a"), RunCancelled())
    with pytest.raises(InvalidInput, match="run 1: expected its events from the first one on"):
        mapped(history[1:])
    assert mapped(history)[1:] == mapped(history[1:], history=lambda run_id: history)


lives = st.lists(
    st.one_of([strategy for kind, strategy in event_strategies.items() if kind is not RunCreated]),
    max_size=6,
).flatmap(
    lambda rest: event_strategies[RunCreated].map(lambda first: recorded(first, *rest, run_id="r"))
)


@settings(max_examples=25, deadline=None)
@for_all(lives)
def test_any_history_is_valid_and_comes_out_the_same_each_time(
    history: list[RecordedEvent],
) -> None:
    """Also one that today's rules would not allow, and also when the mapping has forgotten the run meanwhile."""
    lines = [*openlineage_lines(history)]
    for line in lines:
        assert_valid(json.loads(line))
    assert lines == [*openlineage_lines(history)]
    forgetful = OpenLineageMapping(
        history=lambda run_id: history if run_id == "r" else [], remembered=0
    )
    assert mapped(history) == [event for item in history for event in forgetful.of(item)]

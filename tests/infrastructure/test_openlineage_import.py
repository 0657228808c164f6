"""OpenLineage run events of others become runs; what is wrong is named with line and field."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from lastword import RunTracker
from lastword.domain.errors import InvalidInput
from lastword.domain.events import RunCreated, RunLost
from lastword.domain.status import FlagReason, RunStatus
from lastword.infrastructure.exchange.openlineage import openlineage_lines, openlineage_run_id
from lastword.infrastructure.exchange.openlineage_gathering import gather
from lastword.infrastructure.exchange.openlineage_histories import history_of
from lastword.infrastructure.exchange.openlineage_import import import_openlineage
from lastword.infrastructure.exchange.openlineage_reading import read_openlineage
from lastword.testing import recorded
from lineage import RUN_ID, START, event, in_order, lines_of


@pytest.fixture
def tracker() -> Iterator[RunTracker]:
    with RunTracker("sqlite:///:memory:") as tracker:
        yield tracker


def test_importing_twice_is_importing_once(tracker: RunTracker) -> None:
    """The second import finds everything there."""
    lines = lines_of(in_order("OTHER, START, RUNNING, FAIL"))
    first = import_openlineage(tracker.store, lines, "events")
    history = tracker.history(RUN_ID)
    second = import_openlineage(tracker.store, lines, "events")
    assert (4, 1, 1, 4) == (first.events, first.runs, first.new_runs, first.added)
    assert (4, 1, 0, 0) == (second.events, second.runs, second.new_runs, second.added)
    assert history == tracker.history(RUN_ID)


def test_a_run_goes_on_in_the_next_file(tracker: RunTracker) -> None:
    """Files that follow each other add to the run; an old report that comes late says nothing new."""
    import_openlineage(tracker.store, lines_of([event("START"), event("RUNNING", 5)]), "one")
    import_openlineage(tracker.store, lines_of([event("RUNNING", 2)]), "late")
    import_openlineage(tracker.store, lines_of([event("RUNNING", 7)]), "two")
    import_openlineage(tracker.store, lines_of([event("COMPLETE", 9)]), "three")
    types = [item.type for item in tracker.history(RUN_ID)]
    assert ["RunCreated", "RunStarted", "RunProgressed", "RunProgressed", "RunCompleted"] == types
    view = tracker.get(RUN_ID)
    assert (START, START + timedelta(minutes=9)) == (view.started_at, view.finished_at)


def test_a_real_outcome_takes_the_place_of_a_verdict(tracker: RunTracker) -> None:
    """An imported run that fell silent is swept like any other, and its COMPLETE may come later."""
    import_openlineage(tracker.store, lines_of([event("START")]), "one")
    assert [RUN_ID] == [view.run_id for view in tracker.sweep(START + timedelta(days=2))]
    import_openlineage(tracker.store, lines_of([event("COMPLETE", 9)]), "two")
    view = tracker.get(RUN_ID)
    assert (RunStatus.COMPLETED, False) == (view.status, view.status_update_failed)


def test_a_start_that_nobody_reported_is_added_with_a_note(tracker: RunTracker) -> None:
    """Work that never began cannot be completed; the note says that the moment is inferred."""
    import_openlineage(tracker.store, lines_of([event("COMPLETE", 3)]), "events")
    started = tracker.history(RUN_ID)[1]
    assert ("RunStarted", START + timedelta(minutes=3)) == (started.type, started.occurred_at)
    assert "no START was reported" in (started.event.model_extra or {})["note"]


def test_a_second_outcome_is_a_contradiction(tracker: RunTracker) -> None:
    """The first one by its time holds; the other is kept as evidence."""
    import_openlineage(tracker.store, lines_of(in_order("START, COMPLETE, FAIL")), "events")
    view = tracker.get(RUN_ID)
    assert (RunStatus.COMPLETED, True) == (view.status, view.contradicted)


def test_facets_and_datasets_are_kept_and_exported_again(tracker: RunTracker) -> None:
    """Each with the event it came with; of one name the newest; an export gives them back."""
    base = {"_producer": "https://example.com", "_schemaURL": "https://example.com/F.json"}
    events = [
        event("OTHER", 0, queue={**base, "slot": 1}),
        event("START", 2, plan={**base, "text": "new"}),
        event("START", 1, plan={**base, "text": "old"}),
        event("COMPLETE", 3, statistics={**base, "rows": 10}),
    ]
    events[3]["outputs"] = [{"namespace": "db", "name": "runs", "facets": {"schema": base}}]
    events[0]["job"]["facets"] = {"sql": {**base, "query": "select 1"}}
    import_openlineage(tracker.store, lines_of(events), "events")

    created, started, completed = (
        (item.event.model_extra or {})["openlineage"] for item in tracker.history(RUN_ID)
    )
    assert 1 == created["run"]["queue"]["slot"]
    assert ("etl", "import") == (created["job"]["namespace"], created["job"]["name"])
    assert "select 1" == created["job"]["facets"]["sql"]["query"]
    assert "new" == started["run"]["plan"]["text"]
    assert ("runs", 10) == (completed["outputs"][0]["name"], completed["run"]["statistics"]["rows"])

    other, start, complete = map(json.loads, openlineage_lines(tracker.history(RUN_ID)))
    assert {RUN_ID} == {item["run"]["runId"] for item in (other, start, complete)}
    assert "etl" == complete["job"]["namespace"]
    assert "select 1" == other["job"]["facets"]["sql"]["query"]
    assert "new" == start["run"]["facets"]["plan"]["text"]
    assert "runs" == complete["outputs"][0]["name"]


def test_what_is_too_large_to_keep_is_named(tracker: RunTracker) -> None:
    """At most 64 KiB beside one event: the largest facets go, the others stay, and the status is what it is."""
    huge = {"_producer": "p", "_schemaURL": "s", "plan": "x" * 100_000}
    lines = lines_of([event("START", 0, huge=huge, small={"a": 1}), event("COMPLETE", 1)])
    import_openlineage(tracker.store, lines, "events")
    kept = (tracker.history(RUN_ID)[1].event.model_extra or {})["openlineage"]
    assert {"run": {"small": {"a": 1}}, "leftOut": ["run.huge"]} == kept
    assert RunStatus.COMPLETED is tracker.get(RUN_ID).status


def test_error_text_is_sanitised_and_its_stack_trace_left_out(tracker: RunTracker) -> None:
    """As everywhere: paths and secrets are masked, tracebacks are not stored."""
    error = {
        "message": "cannot open /home/ann/in.csv with password=hunter2",
        "programmingLanguage": "JAVA",
        "stackTrace": "at /home/ann/Main.java",
    }
    import_openlineage(tracker.store, lines_of([event("FAIL", 0, errorMessage=error)]), "events")
    assert "cannot open <path> with password=***" == tracker.get(RUN_ID).error_message
    stored = tracker.history(RUN_ID)[-1].event.model_dump_json()
    assert not re.search("/home|hunter2", stored)
    assert "run.errorMessage.stackTrace" in stored


def test_job_parent_and_tags_are_the_runs(tracker: RunTracker) -> None:
    """What has a field of its own is found by it."""
    parent = {"run": {"runId": "0192f5a0-0000-7000-8000-000000000001"}, "job": {}}
    tags = {"tags": [{"key": "team", "value": "data"}, {"key": 1}, "odd"]}
    started = event("START", 0, parent=parent, tags=tags)
    started["job"]["name"] = "a very\nlong name " + "x" * 300
    import_openlineage(tracker.store, lines_of([started]), "events")
    view = tracker.get(RUN_ID)
    assert ("0192f5a0-0000-7000-8000-000000000001", {"team": "data"}) == (view.parent_id, view.tags)
    assert view.name.startswith("a very long name x")
    assert 200 == len(view.name)


def test_events_about_jobs_and_datasets_alone_are_passed_over(tracker: RunTracker) -> None:
    """They are no run's; a file of a whole backend holds them, too."""
    job = {"eventTime": START.isoformat(), "job": {"namespace": "a", "name": "b"}}
    dataset = {"eventTime": START.isoformat(), "dataset": {"namespace": "a", "name": "b"}}
    lines = [*lines_of([job, dataset, event("START")]), b"\n"]
    report = import_openlineage(tracker.store, lines, "events")
    assert (1, 2, 1) == (report.events, report.passed_over, report.runs)


def without(path: str) -> dict[str, Any]:
    *steps, last = path.split(".")
    broken = target = event("START")
    for step in steps:
        target = target[step]
    del target[last]
    return broken


def with_value(path: str, value: Any) -> dict[str, Any]:
    *steps, last = path.split(".")
    broken = target = event("START")
    for step in steps:
        target = target[step]
    target[last] = value
    return broken


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (b"{\n", "line 2: expected JSON"),
        (b"[]\n", "line 2: expected a JSON object, found list"),
        (b'{"eventType": "STA', "line 2: expected a whole JSON object, .* the file is truncated"),
        (without("eventTime"), "line 2, field eventTime: expected it to be there, found nothing"),
        (without("run.runId"), r"line 2, field run\.runId: expected it to be there"),
        (without("run"), "line 2, field run: expected it to be there"),
        (without("job.name"), r"line 2, field job\.name: expected it to be there"),
        (with_value("job", "import"), "line 2, field job: expected an object, found 'import'"),
        (with_value("job.namespace", ""), r"line 2, field job\.namespace: expected text"),
        (
            with_value("eventType", "DONE"),
            "line 2, field eventType: expected START, .* found 'DONE'",
        ),
        (with_value("eventType", ["START"]), "line 2, field eventType: expected START"),
        (with_value("eventTime", "2026-02-05"), "line 2, field eventTime: expected a time"),
        (
            with_value("eventTime", "2026-02-05T02:00:00"),
            "line 2, field eventTime: expected a time",
        ),
        (with_value("eventTime", 17), "line 2, field eventTime: expected a time"),
        (with_value("run.runId", "17"), r"line 2, field run\.runId: expected a UUID, found '17'"),
        (with_value("run.facets", []), r"line 2, field run\.facets: expected an object"),
        (with_value("run.facets", {"a": 1}), r"line 2, field run\.facets\.a: expected an object"),
        (with_value("inputs", {}), "line 2, field inputs: expected a list"),
        (with_value("outputs", [{"name": "a"}]), r"field outputs\[0\]\.namespace: expected text"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_imported(
    tracker: RunTracker, broken: bytes | dict[str, Any], message: str
) -> None:
    """Also the good lines before it are not there."""
    second = broken if isinstance(broken, bytes) else lines_of([broken])[0]
    lines = [*lines_of([event("START")]), second]
    with pytest.raises(
        InvalidInput, match=f"^events.jsonl, {message}" if "line" in message else message
    ):
        import_openlineage(tracker.store, lines, "events.jsonl")
    assert 0 == tracker.store.last_position()


def test_times_of_other_clients_are_understood(tracker: RunTracker) -> None:
    """Nanoseconds are cut to microseconds; another zone is the same moment; upper case is the same run."""
    started = with_value("eventTime", "2026-02-05T03:00:00.123456789+01:00")
    started["run"]["runId"] = RUN_ID.upper()
    import_openlineage(tracker.store, lines_of([started]), "events")
    assert START.replace(microsecond=123456) == tracker.get(RUN_ID).started_at


def test_a_file_of_many_runs(tmp_path: Path) -> None:
    """Runs lie mixed in the file; the number of events that were read is told."""
    file = tmp_path / "events.jsonl"
    wanted: list[bytes] = []
    with RunTracker("sqlite:///:memory:") as source:
        for number in range(20):
            source.create("import", run_id=number)
            source.start(number)
            source.complete(number) if number % 2 else source.fail(number, "no rows")
        events = source.store.read(0, 1000)
        wanted = [line.encode() for line in openlineage_lines(events)]
    random.Random(7).shuffle(wanted)
    file.write_bytes(b"".join(wanted))
    told: list[int] = []
    with RunTracker(tmp_path / "runs.db") as tracker, file.open("rb") as lines:
        report = import_openlineage(tracker.store, lines, file.name, progress=told.append)
        assert (20, 60) == (report.new_runs, report.added)
        assert {"completed": 10, "failed": 10} == {k: v for k, v in tracker.counts().items() if v}
        assert "completed" == tracker.get(openlineage_run_id(1)).status
        assert tracker.verify().ok
    assert [60] == told


def test_another_writer_in_between_is_no_trouble(
    tracker: RunTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else appends first: the run is read again, and what is new then is appended."""
    import_runs, others = tracker.store.import_runs, [lines_of([event("RUNNING", 1)])]

    def racing(items: Any) -> Any:
        while others:
            import_openlineage(tracker.store, others.pop(), "other")
        return import_runs(items)

    monkeypatch.setattr(tracker.store, "import_runs", racing)
    import_openlineage(tracker.store, lines_of(in_order("START, COMPLETE")), "events")
    types = [item.type for item in tracker.history(RUN_ID)]
    assert ["RunCreated", "RunStarted", "RunProgressed", "RunCompleted"] == types


def test_a_verdict_keeps_its_flag_and_evidence() -> None:
    """A lost run of another store is lost here too, for the same reason."""
    history = recorded(RunCreated(name="a"), RunLost(flag=FlagReason.OVERDUE), run_id=1)
    lines = [line.encode() for line in openlineage_lines(history)]
    runs, _, _ = gather(read_openlineage(lines, "events"))
    (run,) = runs.values()
    assert [event.event.model_dump(exclude={"openlineage"}) for event in history_of(run)][-1] == (
        history[-1].event.model_dump()
    )


def test_an_empty_file_is_refused(tracker: RunTracker) -> None:
    """It was cut off at its beginning, or it is the wrong file."""
    with pytest.raises(InvalidInput, match=r"^events: expected at least one event, found none"):
        import_openlineage(tracker.store, [b"\n"], "events")

"""The event catalogue: names and shapes are stored data, so they do not change by accident."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lastword.domain import events
from lastword.domain.events import (
    BY_TOPIC,
    EVENT_TYPES,
    STORE_EVENT_TYPES,
    TERMINAL_EVENTS,
    TERMINAL_TOPICS,
    CancellationRequested,
    Evidence,
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
    RunsArchived,
    RunStarted,
    event_from,
)
from lastword.domain.status import FlagReason, RunStatus
from lastword.domain.values import ErrorInfo
from lastword.domain.versioning import UPCASTS
from lastword.testing import OWNER, START, recorded
from strategies import event_strategies, payloads, store_event_strategies, texts

SCHEMAS = Path(__file__).parent.parent / "histories" / "schemas"

TOPICS = {
    RunCreated: "RunCreated",
    RunStarted: "RunStarted",
    RunProgressed: "RunProgressed",
    CancellationRequested: "CancellationRequested",
    RunCompleted: "RunCompleted",
    RunFailed: "RunFailed",
    RunCancelled: "RunCancelled",
    RunLost: "RunLost",
    OutcomeContradicted: "OutcomeContradicted",
    RunErased: "RunErased",
    RunsArchived: "RunsArchived",
}
"""What stores hold. A class may move or change its name; the text on the right stays for ever."""

LEADS_TO = {
    RunCreated: "pending",
    RunStarted: "running",
    RunProgressed: None,
    CancellationRequested: None,
    RunCompleted: "completed",
    RunFailed: "failed",
    RunCancelled: "cancelled",
    RunLost: "failed",
    OutcomeContradicted: None,
    RunErased: None,
}

ALL_TYPES = (*EVENT_TYPES, *STORE_EVENT_TYPES)
STRATEGIES = event_strategies | store_event_strategies
KINDS = pytest.mark.parametrize("kind", ALL_TYPES, ids=lambda kind: kind.__name__)


def shape_of(kind: type[RunEvent]) -> Any:
    """The JSON schema without words for people, which may change freely."""

    def bare(node: Any) -> Any:
        if isinstance(node, dict):
            return {
                key: bare(value)
                for key, value in node.items()
                if not (key in {"description", "title"} and isinstance(value, str))
            }
        return [bare(item) for item in node] if isinstance(node, list) else node

    return bare(kind.model_json_schema())


def complaint(kind: type[RunEvent], stored: Any) -> str | None:
    """What to do about a shape that is not the stored one; None when it is."""
    today = shape_of(kind)
    if stored == today:
        return None
    name = f"{kind.TOPIC}.v{kind.SCHEMA_VERSION}.json"
    if stored is None:
        what = f"{kind.TOPIC} has version {kind.SCHEMA_VERSION}, and its shape is not on record: store the text below as"
    else:
        what = (
            f"the shape of {kind.TOPIC} is not that of its version {kind.SCHEMA_VERSION}, which stores may hold:"
            " raise SCHEMA_VERSION, add the step from the old version to UPCASTS in domain/versioning.py,"
            " keep the old file, and store the text below under the new version. Today's file is"
        )
    return f"{what} tests/histories/schemas/{name}\n{json.dumps(today, indent=2)}"


def on_record(kind: type[RunEvent]) -> Any:
    path = SCHEMAS / f"{kind.TOPIC}.v{kind.SCHEMA_VERSION}.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else None


def test_stored_names_never_change():
    """A rename would orphan every stored event of that name."""
    assert {kind: kind.TOPIC for kind in ALL_TYPES} == TOPICS
    assert {name: kind for kind, name in TOPICS.items()} == BY_TOPIC


def test_the_catalogue_is_complete():
    """Every event class of the module is in it, once."""
    defined = {
        value
        for value in vars(events).values()
        if isinstance(value, type) and issubclass(value, RunEvent) and value is not RunEvent
    }
    assert defined == set(ALL_TYPES)
    assert len(ALL_TYPES) == len(defined)


def test_statuses_that_events_lead_to():
    """The table of the life of a run."""
    assert {kind: kind.LEADS_TO for kind in EVENT_TYPES} == LEADS_TO


def test_last_words():
    """Four events end a run, and each leads to a terminal status; no other event does."""
    assert TERMINAL_EVENTS == (RunCompleted, RunFailed, RunCancelled, RunLost)
    assert TERMINAL_TOPICS == ("RunCompleted", "RunFailed", "RunCancelled", "RunLost")
    terminal = [kind for kind in EVENT_TYPES if kind.LEADS_TO and kind.LEADS_TO.is_terminal]
    assert list(TERMINAL_EVENTS) == terminal


@KINDS
def test_the_shape_of_an_event_is_on_record(kind: type[RunEvent]):
    """A change of shape needs a new version and an upcast; the message says how."""
    message = complaint(kind, on_record(kind))
    assert message is None, message


@KINDS
def test_every_released_shape_can_be_lifted(kind: type[RunEvent]):
    """There is a file for each version, and a step from each old one."""
    released = sorted(
        int(path.stem.removeprefix(f"{kind.TOPIC}.v")) for path in SCHEMAS.glob(f"{kind.TOPIC}.v*")
    )
    assert list(range(1, kind.SCHEMA_VERSION + 1)) == released
    assert set(released[:-1]) == {version for topic, version in UPCASTS if topic == kind.TOPIC}


def test_a_changed_shape_is_noticed():
    """A field more, under the same version, is refused with what to do about it."""

    class Wider(RunCancelled):
        where: str | None = None

    message = complaint(Wider, on_record(RunCancelled))
    assert message is not None
    assert "raise SCHEMA_VERSION" in message
    assert "tests/histories/schemas/RunCancelled.v1.json" in message
    assert '"where"' in message


def test_a_missing_shape_is_noticed():
    """A new event, or a new version, has to be put on record."""
    message = complaint(RunCancelled, None)
    assert message is not None
    assert "store the text below as tests/histories/schemas/RunCancelled.v1.json" in message


def test_no_file_is_left_over():
    """A record without an event would be read by nobody."""
    names = {path.name.split(".")[0] for path in SCHEMAS.iterdir()}
    assert set(TOPICS.values()) == names


@KINDS
@given(data=st.data())
def test_an_event_survives_json(kind: type[RunEvent], data: st.DataObject):
    """What a store wrote, it reads."""
    event = data.draw(STRATEGIES[kind])
    assert event == kind.model_validate_json(event.model_dump_json())
    assert event == kind.model_validate(json.loads(json.dumps(event.model_dump(mode="json"))))


@KINDS
@given(data=st.data())
def test_facts_of_a_newer_release_survive_json(kind: type[RunEvent], data: st.DataObject):
    """Unknown fields are kept through reading and writing."""
    event = data.draw(STRATEGIES[kind])
    unknown = data.draw(
        st.dictionaries(texts.map("new_{}".format), payloads, min_size=1, max_size=3)
    )
    newer = {**event.model_dump(mode="json"), **unknown}
    read = kind.model_validate_json(json.dumps(newer))
    assert newer == json.loads(read.model_dump_json())


@KINDS
def test_an_event_does_not_change(kind: type[RunEvent]):
    """What happened has happened."""
    event = kind.model_construct()
    field = next(iter(kind.model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(event, field, None)


@pytest.mark.parametrize(
    "travel", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy]
)
def test_an_event_that_was_not_validated_is_like_any_other(travel: Callable[[RunEvent], RunEvent]):
    """Also after pickle and copy, and to those who ask which fields were given."""
    fields = {"result": {"rows": 10}, "note": None}
    event, validated = event_from(RunCompleted, fields), RunCompleted.model_validate(fields)
    assert validated == event == travel(event)
    assert validated.model_fields_set == event.model_fields_set
    assert validated.model_copy(update={"note": "a"}) == event.model_copy(update={"note": "a"})


def test_unknown_fields_of_the_parts_survive_as_well():
    """Owner, error and evidence may grow too."""
    newer = {
        "flag": "silent",
        "evidence": {"detail": "d", "seen_by": "x", "owner": {**_owner(), "container": "c1"}},
    }
    read = RunLost.model_validate(newer)
    written = json.loads(read.model_dump_json(exclude_none=True))
    assert newer == written
    error = ErrorInfo.model_validate({"type": "E", "message": "m", "code": 7})
    assert 7 == json.loads(error.model_dump_json())["code"]


def _owner() -> dict[str, Any]:
    return {"host": "h", "pid": 1, "started_at": "1970-01-01T00:00:00Z"}


def test_the_words_for_flags_are_accepted():
    """A plain word of the contract stands for the flag, any other is refused."""
    assert RunLost(flag=FlagReason.SILENT) == RunLost.model_validate({"flag": "silent"})
    assert Evidence() == RunLost(flag=FlagReason.SILENT).evidence
    with pytest.raises(ValidationError):
        RunLost.model_validate({"flag": "lazy"})


def test_a_recorded_event_says_everything_in_json():
    """The envelope, and the facts under their stored name; what is None is left out of the facts."""
    created, started = recorded(
        RunCreated(name="import", params={"a": None}, actor="api", correlation_id="req-1"),
        RunStarted(owner=OWNER),
        run_id="x",
    )
    assert created.as_json() == {
        "run_id": "x",
        "version": 1,
        "position": 1,
        "event_id": "0" * 31 + "1",
        "type": "RunCreated",
        "schema_version": 1,
        "event": {
            "name": "import",
            "params": {"a": None},
            "tags": {},
            "actor": "api",
            "correlation_id": "req-1",
            "attempt": 1,
            "lease_seconds": 60.0,
        },
        "occurred_at": "2026-01-01T00:00:00+00:00",
        "recorded_at": "2026-01-01T00:00:00+00:00",
        "actor": "api",
        "correlation_id": "req-1",
    }
    assert "RunStarted" == started.type
    assert started.as_json()["event"]["owner"]["started_at"] == "2025-12-31T23:00:00Z"


def test_dumping_a_recorded_event_keeps_the_facts():
    """pydantic's own way of writing must not lose what the class of the event adds."""
    (event,) = recorded(RunCreated(name="import"))
    assert "import" == event.model_dump()["event"]["name"]
    assert "import" == json.loads(event.model_dump_json())["event"]["name"]


@pytest.mark.parametrize("run_id", [1, "1"])
def test_a_recorded_event_keeps_the_type_of_its_run_id(run_id: int | str):
    """1 and "1" are one run, but each answer has the type that it was created with."""
    (event,) = recorded(RunCreated(name="import", parent_id=run_id, retry_of=run_id), run_id=run_id)
    assert type(run_id) is type(event.run_id)
    assert isinstance(event.event, RunCreated)
    read = RunCreated.model_validate_json(event.event.model_dump_json())
    assert (type(run_id), type(run_id)) == (type(read.parent_id), type(read.retry_of))


def test_an_envelope_needs_aware_times():
    """A naive time could be any moment of a day."""
    with pytest.raises(ValidationError, match="a time needs a time zone"):
        RecordedEvent(
            run_id=1,
            version=1,
            position=1,
            event_id="0" * 32,
            event=RunCancelled(),
            occurred_at=START.replace(tzinfo=None),
            recorded_at=START,
        )


@pytest.mark.parametrize(
    "value",
    [Evidence(detail="d"), recorded(RunCancelled())[0]],
    ids=lambda value: type(value).__name__,
)
def test_what_is_around_an_event_does_not_change(value: Evidence | RecordedEvent):
    """Evidence and envelope are as fixed as the event."""
    field = next(iter(type(value).model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(value, field, "other")


def test_a_number_that_is_none_survives_json():
    """Commands refuse it, but what an old or foreign history holds is not turned into something else."""
    text = RunProgressed(current=float("inf"), total=float("-inf")).model_dump_json()
    read = RunProgressed.model_validate_json(text)
    assert (float("inf"), float("-inf")) == (read.current, read.total)


def test_progress_keeps_whole_numbers_whole():
    """3 of 10 files does not become 3.0 of 10.0."""
    read = RunProgressed.model_validate_json(RunProgressed(current=3, total=10.0).model_dump_json())
    assert (int, float) == (type(read.current), type(read.total))


def test_a_claim_names_a_status():
    """As a status, also when it was read from JSON."""
    read = OutcomeContradicted.model_validate({"claimed": "failed"})
    assert read.claimed is RunStatus.FAILED


def test_a_failure_needs_an_error():
    """A failure without a reason is no use to anybody."""
    with pytest.raises(ValidationError):
        RunFailed.model_validate({})

"""Events as CloudEvents: what goes out comes back, others can read it, and what is wrong is named with line and field."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given as sampled
from hypothesis import strategies as st

from lastword.domain import versioning
from lastword.domain.errors import InvalidInput, UnsupportedSchema
from lastword.domain.events import RecordedEvent, RunCancelled, RunCompleted, RunEvent
from lastword.infrastructure.exchange.cloudevents import from_cloudevent, to_cloudevent
from lastword.infrastructure.exchange.lines import line_of, read_lines
from lastword.testing import recorded
from strategies import event_strategies, maybe_name, moments, names, payloads, run_ids

SOURCE = "urn:uuid:0190a1b2-0000-7000-8000-000000000000"
MOMENT = datetime(2026, 2, 5, 2, 0, 0, 1, tzinfo=UTC)


@st.composite
def of_a_newer_release(draw: st.DrawFn) -> RunEvent:
    """Any event, often with fields that this release does not know."""
    event = draw(st.one_of(list(event_strategies.values())))
    keys = names.filter(lambda key: key not in type(event).model_fields)
    unknown = draw(
        st.dictionaries(keys, payloads.filter(lambda value: value is not None), max_size=2)
    )
    return type(event).model_validate(event.model_dump() | unknown)


recorded_events = st.builds(
    RecordedEvent,
    run_id=run_ids,
    version=st.integers(1, 10**6),
    position=st.integers(1, 2**62),
    event_id=st.uuids().map(lambda value: value.hex),
    event=of_a_newer_release(),
    occurred_at=moments,
    recorded_at=moments,
    actor=maybe_name,
    correlation_id=maybe_name,
)


def made(**changes: Any) -> dict[str, Any]:
    """A CloudEvent that is fine, but for the changes; None takes an attribute out."""
    event = RecordedEvent(
        run_id=17,
        version=2,
        position=9,
        event_id="0" * 31 + "a",
        event=RunCancelled(reason="user"),
        occurred_at=MOMENT,
        recorded_at=MOMENT,
        actor="ops",
        correlation_id="req-1",
    )
    data = to_cloudevent(event, SOURCE) | changes
    return {name: value for name, value in data.items() if value is not None}


def test_an_event_has_this_form():
    """The names and formats are public: other programs read them."""
    assert {
        "specversion": "1.0",
        "id": "0000000000000000000000000000000a",
        "source": SOURCE,
        "type": "lastword.RunCancelled",
        "subject": "17",
        "time": "2026-02-05T02:00:00.000001Z",
        "datacontenttype": "application/json",
        "runidtype": "int",
        "runversion": 2,
        "position": 9,
        "recordedat": "2026-02-05T02:00:00.000001Z",
        "schemaversion": 1,
        "actor": "ops",
        "correlationid": "req-1",
        "data": {"reason": "user"},
    } == made()


@sampled(recorded_events)
def test_what_goes_out_comes_back(event: RecordedEvent):
    """Every event, also with fields of a newer release; and going out again gives the same bytes."""
    line = line_of(event, SOURCE)
    ((where, back),) = read_lines([line], "runs.jsonl")
    assert "runs.jsonl, line 1" == where
    assert event == back
    assert (type(event.run_id), type(event.event)) == (type(back.run_id), type(back.event))
    assert line == line_of(back, SOURCE)
    assert 1 == line.count(b"\n")
    assert to_cloudevent(event, SOURCE) == json.loads(line)


@sampled(recorded_events)
def test_the_official_package_takes_every_line(event: RecordedEvent):
    """Attributes have the names, types and values that CloudEvents 1.0 asks for."""
    taken = JSONFormat().read(CloudEvent, line_of(event, SOURCE))
    assert (event.event_id, SOURCE, f"lastword.{event.type}", event.occurred_at) == (
        taken.get_id(),
        taken.get_source(),
        taken.get_type(),
        taken.get_time(),
    )
    assert to_cloudevent(event, SOURCE)["data"] == taken.get_data()
    for value in taken.get_attributes().values():
        assert isinstance(value, str | datetime) or (
            isinstance(value, int) and -(2**31) <= value < 2**31
        )


@pytest.mark.parametrize(
    ("changes", "field", "why"),
    [
        ({"specversion": "0.3"}, "specversion", "expected '1.0', found '0.3'"),
        ({"specversion": None}, "specversion", "found nothing"),
        ({"id": "A" * 32}, "id", "expected 32 hexadecimal digits in lower case, found 'AAA"),
        ({"id": None}, "id", "found nothing"),
        ({"type": "com.example.sale"}, "type", "expected a type that begins with 'lastword.'"),
        ({"type": 5}, "type", "expected text, found int 5"),
        ({"subject": ""}, "subject", "expected 1 to 200 printable characters"),
        ({"subject": "x17"}, "subject", "expected digits, as runidtype is 'int', found 'x17'"),
        ({"subject": "017"}, "subject", "expected digits, as runidtype is 'int', found '017'"),
        ({"runidtype": "uuid"}, "runidtype", "expected 'int' or 'str', found 'uuid'"),
        ({"runidtype": []}, "runidtype", "expected text, found list"),
        ({"time": "yesterday"}, "time", "expected a time such as .*, found 'yesterday'"),
        ({"time": "2026-02-05T02:00:00"}, "time", "expected an aware datetime, found naive"),
        ({"recordedat": 5}, "recordedat", "expected text, found int 5"),
        ({"runversion": 0}, "runversion", "expected a whole number from 1 on, found 0"),
        ({"runversion": "2"}, "runversion", "expected a whole number from 1 on, found '2'"),
        ({"runversion": True}, "runversion", "expected a whole number from 1 on, found True"),
        ({"position": "-1"}, "position", "expected a whole number from 1 on, found '-1'"),
        ({"schemaversion": 1.0}, "schemaversion", "expected a whole number from 1 on, found 1.0"),
        ({"actor": 5}, "actor", "expected text, found int 5"),
        ({"correlationid": ["a"]}, "correlationid", "expected text, found list"),
        ({"data": "user"}, "data", "expected an object, found str 'user'"),
        ({"data": None}, "data", "found nothing"),
        ({"data": {"reason": 5}}, "data.reason", "Input should be a valid string, found 5"),
        (
            {"type": "lastword.RunFailed", "data": {"error": {"type": "E"}}},
            "data.error.message",
            "Field required",
        ),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_a_wrong_field_is_named(changes: dict[str, Any], field: str, why: str):
    """Whoever reads the message finds the place."""
    with pytest.raises(InvalidInput, match=f"^runs.jsonl, line 3, field {field}: .*{why}"):
        from_cloudevent(made(**changes), "runs.jsonl, line 3")


def test_what_others_added_is_left_aside():
    """A broker may add attributes of its own; an actor that is null was not said."""
    expected = from_cloudevent(made(actor=None), "line 1")
    assert expected == from_cloudevent(made() | {"traceparent": "00-1", "actor": None}, "line 1")
    assert expected.actor is None


@pytest.mark.parametrize(
    ("changes", "field", "found"),
    [({"schemaversion": 7}, "schemaversion", 7), ({"type": "lastword.RunPaused"}, "type", 1)],
)
def test_an_event_of_a_newer_release_is_refused(changes: dict[str, Any], field: str, found: int):
    """It cannot be understood here; the message says what to do."""
    with pytest.raises(UnsupportedSchema, match=f"^line 3, field {field}: .*upgrade") as caught:
        from_cloudevent(made(**changes), "line 3")
    assert found == caught.value.found


def test_older_shapes_are_lifted(monkeypatch: pytest.MonkeyPatch):
    """A file that an old release wrote is read in today's shape, and written in it."""
    old = made(type="lastword.RunCompleted", data={"outcome": 5})
    monkeypatch.setattr(RunCompleted, "SCHEMA_VERSION", 2)
    with pytest.raises(InvalidInput, match="line 1, field schemaversion: expected 1 to 2, found 1"):
        from_cloudevent(old, "line 1")
    monkeypatch.setitem(
        versioning.UPCASTS, ("RunCompleted", 1), lambda data: {"result": data["outcome"]}
    )
    lifted = from_cloudevent(old, "line 1")
    assert RunCompleted(result=5) == lifted.event
    assert 2 == to_cloudevent(lifted, SOURCE)["schemaversion"]
    with pytest.raises(InvalidInput, match=r"line 1, field data: .*KeyError: 'outcome'"):
        from_cloudevent(old | {"data": {}}, "line 1")


def lines_of_two_events() -> list[bytes]:
    history = recorded(RunCompleted(result="é"), RunCancelled())
    return [line_of(event, SOURCE) for event in history]


def test_lines_are_read_one_by_one_and_empty_ones_skipped():
    """A byte order mark, empty lines and Windows ends of line do no harm; places count all lines."""
    first, second = lines_of_two_events()
    lines = [b"\xef\xbb\xbf" + first.replace(b"\n", b"\r\n"), b"\n", b"  \n", second.strip()]
    found = list(read_lines(lines, "a.jsonl"))
    assert ["a.jsonl, line 1", "a.jsonl, line 4"] == [where for where, _ in found]
    assert ["RunCompleted", "RunCancelled"] == [event.type for _, event in found]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"{'id': 1}\n", "expected JSON, found \"{'id': 1}\""),
        (b"\xff\xfe\n", r"expected JSON, found '\\\\xff\\\\xfe'"),
        (b'{"id": "\\ud800"}\n', "expected JSON"),
        (b"[" * 5000 + b"]" * 5000 + b"\n", "expected JSON"),
        (b"[1]\n", r"expected a JSON object, found list \[1\]"),
        (b"{}\n", "field specversion: expected it to be there, found nothing"),
    ],
    ids=["not JSON", "not UTF-8", "half a character", "too deep", "not an object", "no event"],
)
def test_a_line_that_is_no_event_is_named(line: bytes, why: str):
    """Also behind lines that are fine."""
    with pytest.raises(InvalidInput, match=f"^a.jsonl, line 3[:,] ?{why}"):
        list(read_lines([*lines_of_two_events(), line], "a.jsonl"))


def test_a_truncated_file_is_named_as_such():
    """Wherever the last line was cut off."""
    first, second = lines_of_two_events()
    for end in range(1, len(second) - 1):
        with pytest.raises(InvalidInput, match=r"line 2: expected a whole .* truncated"):
            list(read_lines([first, second[:end]], "a.jsonl"))


def test_a_line_is_json_for_everybody():
    """Python's own reader takes it, and text is not escaped."""
    line, _ = lines_of_two_events()
    assert "é" == json.loads(line)["data"]["result"]
    assert "é".encode() in line


def test_what_utf_8_cannot_hold_is_refused():
    """Half a character cannot be written; the message says of which run."""
    (event,) = recorded(RunCancelled.model_construct(reason="\ud800"), run_id=17)
    with pytest.raises(InvalidInput, match="run 17, version 1: expected plain JSON in UTF-8"):
        line_of(event, SOURCE)

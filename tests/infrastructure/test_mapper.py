"""Events to bytes and back: what is stored, what is lifted, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any, ClassVar

import pytest
from eventsourcing.persistence import StoredEvent
from hypothesis import given
from hypothesis import strategies as st

from lastword.domain import versioning
from lastword.domain.errors import InvalidInput, StoreCorrupt, UnsupportedSchema
from lastword.domain.events import (
    BY_TOPIC,
    RecordedEvent,
    RunCompleted,
    RunCreated,
    RunEvent,
    RunStarted,
)
from lastword.infrastructure.mapper import (
    EVENT_COLUMNS,
    EventMapper,
    StoredRunEvent,
    decode_event,
    encode_event,
    enveloped,
    recorded_event,
)
from lastword.projections.ports import NewEvent
from lastword.testing import OWNER, START, recorded
from strategies import events, moments, run_ids


class RunNoted(RunEvent):
    """An event whose shape has changed twice: text, then note, then note and importance."""

    TOPIC: ClassVar[str] = "RunNoted"
    SCHEMA_VERSION: ClassVar[int] = 3

    note: str
    importance: int


class RunPinned(RunEvent):
    """Without fields."""

    TOPIC: ClassVar[str] = "RunPinned"
    SCHEMA_VERSION: ClassVar[int] = 2


@pytest.fixture(autouse=True)
def _noted(monkeypatch: pytest.MonkeyPatch) -> None:
    for event_type in (RunNoted, RunPinned):
        monkeypatch.setitem(BY_TOPIC, event_type.TOPIC, event_type)
    monkeypatch.setitem(
        versioning.UPCASTS, ("RunNoted", 1), lambda old: {"note": old["text"], **_rest(old, "text")}
    )
    monkeypatch.setitem(versioning.UPCASTS, ("RunNoted", 2), lambda old: {**old, "importance": 1})
    monkeypatch.setitem(versioning.UPCASTS, ("RunPinned", 1), lambda old: old)


def _rest(payload: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in payload.items() if name != key}


@given(events)
def test_any_event_comes_back_as_it_was(event: RunEvent):
    """Through its name and its bytes."""
    assert decode_event(event.TOPIC, encode_event(event), "here") == event


@given(events, run_ids, moments, moments, st.none() | st.just("cron"))
def test_any_envelope_comes_back_as_it_was(
    event: RunEvent, run_id: int | str, occurred: datetime, taken: datetime, actor: str | None
):
    """Through the library's mapper interface, and through the columns."""
    item = RecordedEvent(
        run_id=run_id,
        version=3,
        position=9,
        event_id="0123456789abcdef" * 2,
        event=event,
        occurred_at=occurred,
        recorded_at=taken,
        actor=actor,
        correlation_id="trace",
    )
    stored = EventMapper().to_stored_event(item)
    assert EventMapper().to_domain_event(stored) == item
    assert recorded_event(stored.columns) == item
    assert len(stored.columns) == len(EVENT_COLUMNS)


def test_stored_bytes_are_compact_and_stable():
    """No field that is None or says what is so anyway, no version for the first shape, UTC times, the name beside it."""
    created = RunCreated(name="import", deadline_at=START.astimezone(timezone(timedelta(hours=2))))
    assert encode_event(created) == b'{"name":"import","deadline_at":"2026-01-01T00:00:00Z"}'
    spoken = RunCreated(name="import", params={"a": None}, attempt=2, lease_seconds=30)
    assert (
        encode_event(spoken)
        == b'{"name":"import","params":{"a":null},"attempt":2,"lease_seconds":30.0}'
    )
    assert encode_event(RunCompleted()) == b"{}"
    assert encode_event(RunCompleted(result={"a": None})) == b'{"result":{"a":null}}'
    new = NewEvent("0f" * 16, RunStarted(owner=OWNER), START, "api")
    stored = EventMapper().stored(new, 17, 2, "trace")
    assert (stored.originator_id, stored.originator_version, stored.topic) == (
        "17",
        2,
        "RunStarted",
    )
    assert stored.columns == (
        None,
        "17",
        2,
        "RunStarted",
        encode_event(new.event),
        b"\x0f" * 16,
        1_767_225_600_000_000,
        None,
        "api",
        "trace",
        1,
    )


def test_what_json_cannot_say_is_refused():
    """Before anything is stored."""
    with pytest.raises(InvalidInput, match="RunCompleted"):
        encode_event(RunCompleted(result="\ud800"))
    with pytest.raises(InvalidInput, match="RunCompleted"):
        encode_event(RunCompleted.model_construct(result=object()))


# -- versions


def test_a_later_shape_carries_its_version():
    """In front, so that it is seen without reading the rest."""
    assert encode_event(RunNoted(note="a", importance=2)) == b'{"v":3,"note":"a","importance":2}'
    assert encode_event(RunPinned()) == b'{"v":2}'
    assert decode_event("RunPinned", b'{"v":2}', "here") == RunPinned()


@pytest.mark.parametrize(
    "state",
    [
        b'{"text":"a"}',
        b'{"v":1,"text":"a"}',
        b'{"text":"a","v":1}',
        b'{"v":2,"note":"a"}',
        b'{"v":3,"note":"a","importance":1}',
        b'{"note":"a","importance":1,"v":3}',
        b' {"v": 3, "note": "a", "importance": 1}',
    ],
)
def test_every_older_shape_is_lifted(state: bytes):
    """However it was written."""
    event = decode_event("RunNoted", state, "here")
    assert event == RunNoted(note="a", importance=1)
    assert event.model_extra == {}


def test_what_a_newer_release_added_survives_being_lifted():
    """Unknown fields go along."""
    event = decode_event("RunNoted", b'{"text":"a","colour":"red"}', "here")
    assert event.model_extra == {"colour": "red"}


@pytest.mark.parametrize(
    ("topic", "state", "found", "supported"),
    [
        ("RunCompleted", b'{"v":2,"result":1}', 2, 1),
        ("RunCompleted", b'{"v":7,"note":[]}', 7, 1),
        ("RunNoted", b'{"v":4,"note":"a","importance":1}', 4, 3),
        ("RunPaused", b'{"v":5}', 5, 0),
        ("RunPaused", b"no json", 1, 0),
    ],
)
def test_what_a_newer_release_wrote_is_said_to_be_newer(
    topic: str, state: bytes, found: int, supported: int
):
    """A version or a name that is not known: upgrade, nothing is damaged."""
    with pytest.raises(UnsupportedSchema, match=f"run 7, version 2.*{topic}.*upgrade") as caught:
        decode_event(topic, state, "run 7, version 2")
    assert (caught.value.found, caught.value.supported) == (found, supported)


# -- damage


@pytest.mark.parametrize(
    ("topic", "state"),
    [
        ("RunCompleted", b""),
        ("RunCompleted", b"[]"),
        ("RunCompleted", b"null"),
        ("RunCompleted", b'"text"'),
        ("RunCompleted", b'{"result":'),
        ("RunCompleted", b'\xff{"result":1}'),
        ("RunCompleted", None),
        ("RunCompleted", 7),
        ("RunCompleted", b'{"v":true}'),
        ("RunCompleted", b'{"v":0}'),
        ("RunCompleted", b'{"v":"x"}'),
        ("RunCreated", b"{}"),
        ("RunStarted", b'{"owner":{"host":1}}'),
        ("RunNoted", b'{"wrong":"a"}'),
        ("RunNoted", b'{"v":3,"note":"a"}'),
        ("RunNoted", None),
    ],
)
def test_damage_is_named_with_its_place(topic: str, state: Any):
    """Run, version and position, and what was expected there."""
    columns = (9, "17", 3, topic, state, b"\x00" * 16, 0, 0, None, None, 1)
    with pytest.raises(StoreCorrupt, match=f"run 17, version 3, position 9: .*{topic}"):
        recorded_event(columns)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("event_id", None),
        ("event_id", 5),
        ("occurred_at", None),
        ("recorded_at", "noon"),
        ("recorded_at", 10**30),
        ("originator_version", "three"),
        ("position", None),
        ("int_id", 1),
    ],
)
def test_a_damaged_envelope_is_named_with_its_place(column: str, value: Any):
    """An event that was written by something else, or changed since."""
    columns: dict[str, Any] = dict(
        zip(
            EVENT_COLUMNS,
            (9, "seventeen", 3, "RunCompleted", b"{}", b"\x00" * 16, 0, 0, None, None, None),
            strict=True,
        )
    )
    recorded_event(tuple(columns.values()))
    columns[column] = value
    with pytest.raises(StoreCorrupt, match=r"run seventeen.*envelope"):
        recorded_event(tuple(columns.values()))


def test_an_event_without_an_envelope_is_not_ours():
    """The library's own stored events have no time and no id."""
    bare = StoredEvent("17", 1, "RunCompleted", b"{}")
    with pytest.raises(StoreCorrupt, match=r"run 17, version 1: .*envelope"):
        EventMapper().to_domain_event(bare)


def test_the_quick_way_makes_the_same_model():
    """Equal to the validated one in content, copies, dumps and hash of fields."""
    (item,) = recorded(RunCreated(name="import"))
    quick = enveloped(**{name: getattr(item, name) for name in RecordedEvent.model_fields})
    assert quick == item
    assert quick.model_dump() == item.model_dump()
    assert quick.model_fields_set == set(RecordedEvent.model_fields)
    assert quick.model_copy(update={"version": 2}).version == 2
    assert repr(quick) == repr(item)
    assert RecordedEvent.model_validate(quick.model_dump() | {"event": quick.event}) == item


def test_a_stored_event_is_a_value():
    """Frozen and compared by its fields, like the library's."""
    one, two = (StoredRunEvent("a", 1, "T", b"{}", event_id=b"x", occurred_at=1) for _ in range(2))
    assert one == two
    assert one != StoredRunEvent("a", 1, "T", b"{}", event_id=b"y", occurred_at=1)
    with pytest.raises(AttributeError):
        one.topic = "U"  # type: ignore[misc]  # the point of the test
    assert "occurred_at=1" in repr(one)
    assert START.tzinfo is UTC

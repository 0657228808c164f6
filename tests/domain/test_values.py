"""What can be recorded, and that it stays what it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lastword.domain.errors import InvalidInput
from lastword.domain.events import RunCompleted
from lastword.domain.values import (
    EPOCH,
    MAX_PAYLOAD_BYTES,
    MAX_PAYLOAD_DEPTH,
    ErrorInfo,
    Owner,
    as_json,
    from_micros,
    json_of,
    name_of,
    run_key,
    shown,
    tags_of,
    text_of,
    to_micros,
    utc,
)
from strategies import moments, payloads


class Word(StrEnum):
    ONE = "one"


class Nowhere(tzinfo):
    """A zone that does not know its own offset."""

    def utcoffset(self, dt: datetime | None) -> None:
        return None


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def test_objects_and_lists_inside_each_other_count_alike():
    """At the limit a mixture is fine, one level more is not."""
    value: Any = 1
    for level in range(MAX_PAYLOAD_DEPTH):
        value = {"a": value} if level % 2 else [value]
    assert value == json_of(value, "result")
    for deeper in ({"a": value}, [value], (value,)):
        with pytest.raises(InvalidInput, match="more than 100 levels inside each other"):
            json_of(deeper, "result")


def test_an_int_of_5000_digits_in_a_payload_is_refused():
    """Python itself will not write it as text."""
    with pytest.raises(InvalidInput, match=r"^result: expected plain JSON, found something else"):
        json_of([10**5000], "result")


@pytest.mark.parametrize(
    "run_id", [0, -1, 7, 10**200 - 1, -(10**199) + 1, "x", "x" * 200, "import 7", "ü/ñ"]
)
def test_what_can_be_a_run_id(run_id: int | str):
    """Any int of up to 200 characters, any printable text of up to 200."""
    assert str(run_id) == run_key(run_id)


def test_limits_are_the_last_allowed_value():
    """Exactly at the limit is fine."""
    assert "x" * 200 == name_of("x" * 200)
    assert "x" * 1024 == text_of("x" * 1024, "message")
    assert "" == text_of("", "message")
    tags = {f"{number:0200}": "v" * 200 for number in range(100)}
    assert tags == tags_of(tags)
    assert {"k": ""} == tags_of({"k": ""})
    text = "x" * (MAX_PAYLOAD_BYTES - 2)
    assert text == json_of(text, "result")
    assert nested(MAX_PAYLOAD_DEPTH) == json_of(nested(MAX_PAYLOAD_DEPTH), "result")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (False, False),
        (0, 0),
        (1.5, 1.5),
        ("a", "a"),
        ((1, (2,)), [1, [2]]),
        ({"a": (1,), "b": None}, {"a": [1], "b": None}),
        ({Word.ONE: Word.ONE}, {"one": "one"}),
        ("ä\x00\n", "ä\x00\n"),
        ([], []),
        ({}, {}),
    ],
)
def test_what_is_json_stays_what_it_is(value: object, expected: object):
    """Tuples become lists and words of an enum become text; the types of the rest stay."""
    found = json_of(value, "result")
    assert expected == found
    assert type(expected) is type(found)


def test_none_and_bool_need_no_room():
    """They pass at any limit, so that a result of True is never left out."""
    assert (None, True) == (json_of(None, "result", limit=0), json_of(True, "result", limit=0))


def test_a_payload_is_a_copy():
    """What the caller does to its dict afterwards does not change what was recorded."""
    inner = [1]
    copy = json_of({"a": inner}, "params")
    inner.append(2)
    assert {"a": [1]} == copy


@given(payloads)
def test_what_json_of_lets_pass_comes_back_from_a_store(value: Any):
    """No payload is acknowledged that cannot be read again."""
    event = RunCompleted(result=json_of(value, "result"))
    assert event == RunCompleted.model_validate_json(event.model_dump_json())
    assert value == event.result


def test_the_deepest_payload_comes_back_from_a_store():
    """The limit lies below that of the JSON reader."""
    event = RunCompleted(result=json_of(nested(MAX_PAYLOAD_DEPTH), "result"))
    assert event == RunCompleted.model_validate_json(event.model_dump_json())


@given(
    st.recursive(
        st.floats() | st.text() | st.binary(),
        lambda x: st.lists(x) | st.sets(st.text()) | st.dictionaries(st.integers() | st.text(), x),
    )
)
def test_anything_else_is_invalid_input_and_nothing_else(value: Any):
    """Any object is either taken or refused with the one error for it."""
    try:
        taken = json_of(value, "result")
    except InvalidInput as error:
        message = str(error)
    else:
        message = "result: expected itself"
        assert taken == json_of(taken, "result")
    assert message.startswith("result: expected")


@given(moments, st.integers(-1439, 1439))
def test_a_moment_is_the_same_in_any_zone(moment: datetime, minutes: int):
    """Zones are a way of writing; microseconds stay."""
    elsewhere = moment.astimezone(timezone(timedelta(minutes=minutes)))
    assert moment == utc(elsewhere)
    assert UTC is utc(elsewhere).tzinfo


@given(moments)
def test_microseconds_since_1970_are_exact(moment: datetime):
    """There and back gives the same moment."""
    assert moment == from_micros(to_micros(moment))


def test_moments_before_1970_are_negative():
    """Nothing special happens at the epoch."""
    assert (0, -1) == (to_micros(EPOCH), to_micros(EPOCH - timedelta(microseconds=1)))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            datetime(2026, 1, 1),  # noqa: DTZ001  # that is the point
            "a time needs a time zone; a naive datetime could mean any moment of a day",
        ),
        (
            datetime(2026, 1, 1, tzinfo=Nowhere()),
            "a time needs a time zone; a naive datetime could mean any moment of a day",
        ),
        (
            datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))),
            "a time needs a year from 1 to 9999 in UTC",
        ),
    ],
)
def test_a_model_refuses_the_same_times(value: datetime, message: str):
    """Times in events and views follow the same rule."""
    with pytest.raises(ValidationError) as caught:
        Owner(host="h", pid=1, started_at=value)
    assert f"Value error, {message}" == caught.value.errors()[0]["msg"]


def test_a_model_keeps_times_in_utc():
    """Whatever zone they came in."""
    local = datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))
    owner = Owner(host="h", pid=1, started_at=local)
    assert "2026-01-01T00:00:00+00:00" == owner.started_at.isoformat()


def test_the_key_of_an_owner_tells_processes_apart():
    """Each of its facts makes another owner."""
    base = Owner(host="h", pid=1, started_at=EPOCH, boot_id="b", namespace="n")
    others = [
        base.model_copy(update=change)
        for change in (
            {"host": "i"},
            {"pid": 2},
            {"started_at": EPOCH + timedelta(microseconds=1)},
            {"boot_id": None},
            {"namespace": "m"},
        )
    ]
    assert "h|1|0|b|n" == base.key
    assert 6 == len({owner.key for owner in [base, *others]})


@pytest.mark.parametrize(
    "value",
    [Owner(host="h", pid=1, started_at=EPOCH), ErrorInfo(type="E", message="m")],
    ids=lambda value: type(value).__name__,
)
def test_a_value_does_not_change(value: Owner | ErrorInfo):
    """It is part of what happened."""
    field = next(iter(type(value).model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(value, field, "other")


def test_as_json_is_json_ready():
    """Times become text, None stays."""
    assert as_json(Owner(host="h", pid=1, started_at=EPOCH)) == {
        "host": "h",
        "pid": 1,
        "started_at": "1970-01-01T00:00:00Z",
        "boot_id": None,
        "namespace": None,
    }


def test_what_cannot_be_shown_is_named_by_its_type():
    """A message about bad input must not fail over the input."""
    assert "a Unshowable that cannot be shown" == shown(Unshowable())
    assert 60 == len(shown("x" * 99))

"""What can be recorded, and what is refused with which words."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
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

SURROGATE = "\ud800"
"""Half a character: Python holds it, UTF-8 does not."""


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


def endless() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


REFUSED: list[tuple[str, Callable[[], object], str]] = [
    (
        "a bool is no run id",
        lambda: run_key(True),
        "run id: expected a str or an int, found bool True",
    ),
    (
        "None is no run id",
        lambda: run_key(None),
        "run id: expected a str or an int, found NoneType None",
    ),
    (
        "a float is no run id",
        lambda: run_key(1.0),
        "run id: expected a str or an int, found float 1.0",
    ),
    (
        "bytes are no run id",
        lambda: run_key(b"1"),
        "run id: expected a str or an int, found bytes b'1'",
    ),
    (
        "an empty run id",
        lambda: run_key(""),
        (
            "run id: expected 1 to 200 printable characters without space at the ends,"
            " found 0 characters ''"
        ),
    ),
    (
        "a run id of 201 characters",
        lambda: run_key("x" * 201),
        (
            "run id: expected 1 to 200 printable characters without space at the ends,"
            f" found 201 characters '{'x' * 59}"
        ),
    ),
    (
        "a run id with a line end",
        lambda: run_key("a\nb"),
        (
            "run id: expected 1 to 200 printable characters without space at the ends,"
            r" found 3 characters 'a\nb'"
        ),
    ),
    (
        "a run id with space at an end",
        lambda: run_key(" a"),
        (
            "run id: expected 1 to 200 printable characters without space at the ends,"
            " found 2 characters ' a'"
        ),
    ),
    (
        "a run id that UTF-8 cannot hold",
        lambda: run_key(SURROGATE),
        (
            "run id: expected 1 to 200 printable characters without space at the ends,"
            r" found 1 characters '\ud800'"
        ),
    ),
    (
        "a run id of 201 digits",
        lambda: run_key(10**200),
        (
            "run id: expected 1 to 200 printable characters without space at the ends,"
            f" found 201 characters '1{'0' * 58}"
        ),
    ),
    (
        "a run id of 5,000 digits",
        lambda: run_key(10**5000),
        "run id: expected at most 200 digits, found a longer number",
    ),
    (
        "an empty name",
        lambda: name_of(""),
        "name: expected 1 to 200 printable characters, found ''",
    ),
    (
        "a name of spaces",
        lambda: name_of("  "),
        "name: expected 1 to 200 printable characters, found '  '",
    ),
    (
        "a name of 201 characters",
        lambda: name_of("x" * 201),
        f"name: expected 1 to 200 printable characters, found '{'x' * 59}",
    ),
    (
        "a name with a control character",
        lambda: name_of("a\x00", "actor"),
        r"actor: expected 1 to 200 printable characters, found 'a\x00'",
    ),
    ("a name that is no text", lambda: name_of(7), "name: expected a str, found int"),
    (
        "tags that are no mapping",
        lambda: tags_of(["a"]),
        "tags: expected a mapping of str to str, found list",
    ),
    (
        "101 tags",
        lambda: tags_of({str(n): "" for n in range(101)}),
        "tags: expected at most 100, found 101; put the rest into params",
    ),
    (
        "a tag that is a number",
        lambda: tags_of({"rows": 3}),
        "tags: expected str keys and values, found 'rows': 3; write '3'",
    ),
    (
        "a key that is a number",
        lambda: tags_of({3: "rows"}),
        "tags: expected str keys and values, found 3: 'rows'; write '3'",
    ),
    (
        "a tag that is a number of 5,000 digits",
        lambda: tags_of({"rows": 10**5000}),
        (
            "tags: expected str keys and values, found 'rows': a int that cannot be shown;"
            " write 'a int that cannot be shown'"
        ),
    ),
    (
        "a tag without a key",
        lambda: tags_of({"": "x"}),
        (
            "tags: expected 1 to 200 characters for a key and at most 200 for a value,"
            " found 0 and 1 at ''"
        ),
    ),
    (
        "a key of 201 characters",
        lambda: tags_of({"k" * 201: "x"}),
        (
            "tags: expected 1 to 200 characters for a key and at most 200 for a value,"
            f" found 201 and 1 at '{'k' * 59}"
        ),
    ),
    (
        "a tag of 201 characters",
        lambda: tags_of({"k": "x" * 201}),
        (
            "tags: expected 1 to 200 characters for a key and at most 200 for a value,"
            " found 1 and 201 at 'k'"
        ),
    ),
    (
        "a tag that UTF-8 cannot hold",
        lambda: tags_of({"k": SURROGATE}),
        "tags: expected text that UTF-8 can hold, found surrogates not allowed",
    ),
    (
        "a key that UTF-8 cannot hold",
        lambda: tags_of({SURROGATE: "x"}),
        "tags: expected text that UTF-8 can hold, found surrogates not allowed",
    ),
    ("a text that is no text", lambda: text_of(b"x", "step"), "step: expected a str, found bytes"),
    (
        "a text of 1,025 characters",
        lambda: text_of("x" * 1025, "message"),
        "message: expected at most 1024 characters, found 1025",
    ),
    (
        "a text over a limit of its own",
        lambda: text_of("abc", "note", limit=2),
        "note: expected at most 2 characters, found 3",
    ),
    (
        "a text that UTF-8 cannot hold",
        lambda: text_of(SURROGATE, "message"),
        "message: expected text that UTF-8 can hold, found surrogates not allowed",
    ),
    (
        "NaN",
        lambda: json_of(float("nan"), "result"),
        (
            "result: expected plain JSON, found something else:"
            " Out of range float values are not JSON compliant"
        ),
    ),
    (
        "infinity inside",
        lambda: json_of({"a": [float("inf")]}, "result"),
        (
            "result: expected plain JSON, found something else:"
            " Out of range float values are not JSON compliant"
        ),
    ),
    (
        "a set",
        lambda: json_of({1, 2}, "result"),
        (
            "result: expected plain JSON, found something else:"
            " Object of type set is not JSON serializable"
        ),
    ),
    (
        "bytes inside",
        lambda: json_of([b"x"], "params"),
        (
            "params: expected plain JSON, found something else:"
            " Object of type bytes is not JSON serializable"
        ),
    ),
    (
        "a time",
        lambda: json_of(EPOCH, "result"),
        (
            "result: expected plain JSON, found something else:"
            " Object of type datetime is not JSON serializable"
        ),
    ),
    (
        "a key that is an int",
        lambda: json_of({1: "a"}, "params"),
        "params: expected plain JSON, found something else: the key 1 is int, not str",
    ),
    (
        "a key that is None, inside",
        lambda: json_of([({"a": {None: 1}},)], "params"),
        "params: expected plain JSON, found something else: the key None is NoneType, not str",
    ),
    (
        "text that UTF-8 cannot hold, inside",
        lambda: json_of([SURROGATE], "params"),
        (
            "params: expected plain JSON, found something else: 'utf-8' codec can't encode"
            r" character '\ud800' in position 2: surrogates not allowed"
        ),
    ),
    (
        "101 lists inside each other",
        lambda: json_of(nested(MAX_PAYLOAD_DEPTH + 1), "result"),
        "result: expected plain JSON, found something else: more than 100 levels inside each other",
    ),
    (
        "a list that is in itself",
        lambda: json_of(endless(), "result"),
        "result: expected plain JSON, found something else: more than 100 levels inside each other",
    ),
    (
        "one byte over 64 KiB",
        lambda: json_of("x" * (MAX_PAYLOAD_BYTES - 1), "result"),
        (
            "result: expected at most 65,536 bytes of JSON, found 65,537;"
            " store it elsewhere and keep a reference here"
        ),
    ),
    (
        "more than a limit of its own, in bytes and not in characters",
        lambda: json_of("ä", "result", limit=3),
        (
            "result: expected at most 3 bytes of JSON, found 4;"
            " store it elsewhere and keep a reference here"
        ),
    ),
    (
        "a naive time",
        lambda: utc(datetime(2026, 1, 2)),  # noqa: DTZ001  # that is the point
        (
            "time: expected an aware datetime, found naive 2026-01-02T00:00:00;"
            " say which zone it is in, e.g. datetime.now(UTC)"
        ),
    ),
    (
        "a time in a zone that knows no offset",
        lambda: utc(datetime(2026, 1, 2, tzinfo=Nowhere())),
        (
            "time: expected an aware datetime, found naive 2026-01-02T00:00:00;"
            " say which zone it is in, e.g. datetime.now(UTC)"
        ),
    ),
    (
        "a text for a time",
        lambda: utc("2026-01-02", "deadline"),  # pyright: ignore[reportArgumentType]  # that is the point
        "deadline: expected an aware datetime, found str '2026-01-02'",
    ),
    (
        "a date for a time",
        lambda: utc(date(2026, 1, 2), "since"),  # pyright: ignore[reportArgumentType]  # that is the point
        "since: expected an aware datetime, found date datetime.date(2026, 1, 2)",
    ),
    (
        "a time after the year 9999 in UTC",
        lambda: utc(datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))),
        "time: expected a year from 1 to 9999 in UTC, found 9999-12-31T23:59:59.999999-01:00",
    ),
]


@pytest.mark.parametrize(
    ("attempt", "message"),
    [(attempt, message) for _, attempt, message in REFUSED],
    ids=[sentence for sentence, _, _ in REFUSED],
)
def test_what_cannot_be_recorded_is_refused_in_these_words(
    attempt: Callable[[], object], message: str
):
    """Which thing, what was expected, what was found."""
    with pytest.raises(InvalidInput) as caught:
        attempt()
    assert message == str(caught.value).replace(": nan", "").replace(": inf", "")
    assert caught.value.__cause__ is None


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
        (datetime(2026, 1, 1), "a time needs a time zone; a naive datetime could mean any"),  # noqa: DTZ001  # that is the point
        (datetime(2026, 1, 1, tzinfo=Nowhere()), "a time needs a time zone"),
        (
            datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))),
            "a time needs a year from 1 to 9999 in UTC",
        ),
    ],
)
def test_a_model_refuses_the_same_times(value: datetime, message: str):
    """Times in events and views follow the same rule."""
    with pytest.raises(ValidationError, match=message):
        Owner(host="h", pid=1, started_at=value)


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

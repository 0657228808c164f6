"""What cannot be recorded is refused, and in which words."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone, tzinfo
from typing import Any

import pytest

from lastword.domain.errors import InvalidInput
from lastword.domain.values import (
    EPOCH,
    MAX_PAYLOAD_BYTES,
    MAX_PAYLOAD_DEPTH,
    json_of,
    name_of,
    run_key,
    tags_of,
    text_of,
    utc,
)

SURROGATE = "\ud800"
"""Half a character: Python holds it, UTF-8 does not."""


class Nowhere(tzinfo):
    """A zone that does not know its own offset."""

    def utcoffset(self, dt: datetime | None) -> None:
        return None


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

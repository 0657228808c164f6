"""Questions about many runs."""

from __future__ import annotations

import base64
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastword.domain.errors import InvalidInput
from lastword.domain.events import RunCancelled, RunCreated
from lastword.domain.status import RunStatus
from lastword.projections.queries import (
    MAX_PAGE,
    MAX_STRETCHES,
    Cursor,
    Page,
    RunQuery,
    TallyQuery,
    matches,
    statuses_of,
)
from lastword.testing import START, view_of

TICK = timedelta(microseconds=1)
int64 = st.integers(-(2**63) + 1, 2**63 - 1)


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@given(int64, int64)
def test_a_cursor_comes_back_as_it_was(created_at: int, number: int):
    """Encoded, decoded, and fit for a URL without quoting."""
    cursor = Cursor(created_at, number)
    text = cursor.encode()
    assert cursor == Cursor.decode(text)
    assert text.replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize(
    "cursor", [Cursor(2**63 - 1, 1 - 2**63), *(Cursor(n, n) for n in range(70))]
)
def test_the_ends_of_a_cursor_are_not_lost(cursor: Cursor):
    """The largest numbers that a store can hold, and every character that an encoding can end with."""
    assert cursor == Cursor.decode(cursor.encode())


@given(st.text() | st.text("0123456789.-_ =", max_size=30).map(encoded))
def test_garbage_is_no_cursor(text: str):
    """Either it can be read, and then it is a cursor, or it is invalid input."""
    try:
        cursor = Cursor.decode(text)
    except InvalidInput as error:
        message = str(error)
    else:
        message = "cursor: expected one that can be encoded again"
        assert cursor == Cursor.decode(cursor.encode())
    assert message.startswith("cursor: expected one that")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", "''"),
        ("x", "'x'"),
        ("ü", "'ü'"),
        ("\ud800", r"'\ud800'"),
        (encoded("1"), "'MQ'"),
        (encoded("1.2.3"), "'MS4yLjM'"),
        (encoded("a.b"), "'YS5i'"),
        (encoded("1."), "'MS4'"),
        (encoded(f"{2**63}.1"), "'OTIyMzM3MjAzNjg1NDc3NTgwOC4x'"),
        (encoded(f"1.{2**63}"), "'MS45MjIzMzcyMDM2ODU0Nzc1ODA4'"),
        (base64.urlsafe_b64encode(b"\xff\xff").decode(), "'__8='"),
        (7, "7"),
        (b"MS4y", "b'MS4y'"),
    ],
)
def test_a_broken_cursor_is_refused_in_these_words(text: Any, shown: str):
    """Numbers that no store can hold are none that an earlier page gave."""
    with pytest.raises(InvalidInput) as caught:
        RunQuery(cursor=text)
    assert str(caught.value) == (
        f"cursor: expected one that an earlier page gave, found {shown}; start without one"
    )


def test_a_query_asks_for_everything_by_default():
    """The newest fifty."""
    query = RunQuery()
    assert (None, None, {}, None, None, 50, None, None) == (
        query.statuses,
        query.name,
        query.tags,
        query.since,
        query.until,
        query.limit,
        query.cursor,
        query.after,
    )


def test_a_query_decodes_its_cursor():
    """Where the page before ended."""
    assert Cursor(5, 6) == RunQuery(cursor=Cursor(5, 6).encode()).after


@pytest.mark.parametrize("limit", [1, 2, MAX_PAGE])
def test_a_page_has_1_to_1000_rows(limit: int):
    """Both ends included."""
    assert limit == RunQuery(limit=limit).limit
    assert MAX_PAGE == 1000


@pytest.mark.parametrize("limit", [0, -1, 1001, True, 1.5, "10", None])
def test_another_limit_is_refused(limit: Any):
    """The message says what to do for more."""
    with pytest.raises(InvalidInput) as caught:
        RunQuery(limit=limit)
    assert f"limit: expected 1 to 1,000, found {limit!r}; follow the cursor for more" == str(
        caught.value
    )


@pytest.mark.parametrize("what", ["since", "until"])
def test_times_of_a_query_are_aware(what: str):
    """Naive ones are refused, others are kept in UTC."""
    with pytest.raises(InvalidInput, match=f"^{what}: expected an aware datetime, found naive"):
        RunQuery(**{what: START.replace(tzinfo=None)})  # pyright: ignore[reportArgumentType]  # built from a name
    local = datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))
    query = RunQuery(**{what: local})  # pyright: ignore[reportArgumentType]  # built from a name
    assert START == getattr(query, what)
    assert UTC is getattr(query, what).tzinfo


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"name": 7}, "name: expected a str, found int"),
        ({"name": "\ud800"}, "name: expected text that UTF-8 can hold"),
        ({"tags": ["a"]}, "tags: expected a mapping of str to str, found list"),
        ({"tags": {"a": 1}}, "tags: expected str keys and values, found 'a': 1"),
    ],
)
def test_a_filter_that_no_run_can_match_is_refused(facts: dict[str, Any], message: str):
    """It is a mistake of the caller, not an empty answer."""
    with pytest.raises(InvalidInput) as caught:
        RunQuery(**facts)
    assert str(caught.value).startswith(message)


def test_the_tags_of_a_query_are_its_own():
    """What the caller does to its dict afterwards does not change the question."""
    tags = {"team": "data"}
    query = RunQuery(tags=tags)
    tags["team"] = "web"
    assert {"team": "data"} == query.tags


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("failed", {RunStatus.FAILED}),
        (RunStatus.FAILED, {RunStatus.FAILED}),
        (["failed", RunStatus.PENDING], {RunStatus.FAILED, RunStatus.PENDING}),
        ((word for word in ["failed", "failed"]), {RunStatus.FAILED}),
        ([], set()),
    ],
)
def test_statuses_come_in_many_forms(value: Any, expected: set[RunStatus] | None):
    """One, several, or none at all."""
    assert expected == statuses_of(value)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("done", "'done'"),
        ("", "''"),
        (["failed", "done"], "['failed', 'done']"),
        (7, "7"),
        ([[]], "[[]]"),
    ],
)
def test_a_word_that_is_no_status_is_refused(value: Any, shown: str):
    """The message lists those that are."""
    with pytest.raises(InvalidInput) as caught:
        statuses_of(value)
    assert str(caught.value) == (
        f"status: expected one of pending, running, completed, failed, cancelled, found {shown}"
    )


VIEW = view_of(RunCreated(name="import", tags={"team": "data", "env": "prod"}))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (RunQuery(), True),
        (RunQuery(statuses=frozenset({RunStatus.PENDING})), True),
        (RunQuery(statuses=frozenset({RunStatus.PENDING, RunStatus.FAILED})), True),
        (RunQuery(statuses=frozenset({RunStatus.FAILED})), False),
        (RunQuery(statuses=frozenset()), False),
        (RunQuery(name="import"), True),
        (RunQuery(name="impor"), False),
        (RunQuery(name=""), False),
        (RunQuery(tags={"team": "data"}), True),
        (RunQuery(tags={"team": "data", "env": "prod"}), True),
        (RunQuery(tags={"team": "data", "env": "test"}), False),
        (RunQuery(tags={"other": "data"}), False),
        (RunQuery(since=START), True),
        (RunQuery(since=START + TICK), False),
        (RunQuery(since=START - TICK), True),
        (RunQuery(until=START), False),
        (RunQuery(until=START + TICK), True),
        (RunQuery(until=START - TICK), False),
        (RunQuery(name="import", statuses=frozenset({RunStatus.FAILED})), False),
        (RunQuery(name="import", since=START, until=START + TICK), True),
    ],
)
def test_all_filters_must_match(query: RunQuery, expected: bool):
    """`since` belongs to the answer, `until` does not."""
    assert expected is matches(VIEW, query)


def test_cursor_and_limit_are_no_filters():
    """They say which page, not which runs."""
    assert matches(VIEW, RunQuery(limit=1, cursor=Cursor(0, 0).encode()))


def test_the_status_of_now_is_asked_for():
    """Not one that the run once had."""
    view = view_of(RunCreated(name="import"), RunCancelled())
    assert matches(view, RunQuery(statuses=statuses_of("cancelled")))
    assert not matches(view, RunQuery(statuses=statuses_of("pending")))


def test_a_page_is_like_a_tuple_of_its_items():
    """And knows the way to the next one."""
    page = Page((1, 2, 3), next_cursor="abc")
    assert ([1, 2, 3], 3, 1, 3) == (list(page), len(page), page[0], page[-1])
    assert "abc" == page.next_cursor
    assert Page(()).next_cursor is None
    with pytest.raises(IndexError):
        Page(())[0]


HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"since": datetime(2026, 2, 5)}, "since: expected an aware datetime"),  # noqa: DTZ001
        ({"stretch": timedelta(0)}, "stretch: expected a positive timedelta"),
        ({"stretches": 0}, "tally: expected 1 to 1,000 stretches"),
        ({"stretches": 1001}, "tally: expected 1 to 1,000 stretches"),
        ({"limit": 0}, "a limit of 1 or more"),
        ({"name": "x" * 1025}, "name: expected at most 1024 characters"),
    ],
)
def test_a_tally_that_makes_no_sense_is_refused(wrong: dict[str, Any], message: str):
    """Before a store is asked."""
    given: dict[str, Any] = {"since": START, "stretch": HOUR, "stretches": 24}
    with pytest.raises(InvalidInput, match=message):
        TallyQuery(**given | wrong)


def test_a_tally_ends_where_its_last_stretch_ends():
    """Whatever zone its beginning was given in."""
    query = TallyQuery(since=START.astimezone(timezone(HOUR)), stretch=HOUR, stretches=24)
    assert START + 24 * HOUR == query.until
    assert UTC == query.since.tzinfo


@pytest.mark.parametrize("stretches", [1, MAX_STRETCHES])
def test_a_tally_may_be_as_small_and_as_large_as_it_says(stretches: int):
    """The bounds belong to it; so does a limit of one run."""
    query = TallyQuery(since=START, stretch=HOUR, stretches=stretches, limit=1)
    assert START + stretches * HOUR == query.until


def test_a_page_cannot_be_changed():
    """Who reads it may keep it."""
    with pytest.raises(FrozenInstanceError):
        Page((1, 2)).items = ()  # pyright: ignore[reportAttributeAccessIssue]  # that is the point

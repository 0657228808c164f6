"""The filters in the address bar: as they are typed, as they are meant, and back into an address."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastword.domain.status import RunStatus
from lastword.infrastructure.web.pages.filters import Filters
from lastword.projections.queries import Cursor, RunQuery
from lastword.testing import START

CURSOR = Cursor(1, 2).encode()


def filters(query: str) -> Filters:
    """The filters of a query string."""
    return Filters.of(parse_qsl(query, keep_blank_values=True), START)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {}),
        ("status=failed", {"status": (RunStatus.FAILED,)}),
        (
            "status=failed&status=pending&status=failed",
            {"status": (RunStatus.PENDING, RunStatus.FAILED)},
        ),
        ("status=&name=++&tag=&since=", {}),
        ("name=+nightly+import+", {"name": "nightly import"}),
        ("flagged=1", {"flagged": True}),
        ("flagged=0", {"flagged": False}),
        ("tag=team%3Ddata", {"tags": {"team": "data"}}),
        ("tag=team%3Ddata+env%3Dtest", {"tags": {"team": "data", "env": "test"}}),
        ("tag=team%3Ddata&tag=env%3Dtest", {"tags": {"team": "data", "env": "test"}}),
        ("tag=who%3DAda+Lovelace", {"tags": {"who": "Ada Lovelace"}}),
        ("since=2h", {"since": START - timedelta(hours=2)}),
        ("until=2026-02-05T22:00Z", {"until": START.replace(2026, 2, 5, 22, 0, 0, 0)}),
        (f"cursor={CURSOR}", {"cursor": CURSOR}),
        ("strange=1", {}),
    ],
)
def test_what_is_typed_becomes_what_the_tracker_takes(query: str, expected: dict[str, Any]) -> None:
    """Blank fields of a form do not filter, and neither do strangers in the address."""
    nothing = {
        "status": None,
        "name": None,
        "flagged": None,
        "tags": {},
        "since": None,
        "until": None,
        "limit": 50,
        "cursor": None,
    }
    assert nothing | expected == filters(query).arguments


@pytest.mark.parametrize(
    ("query", "what", "message"),
    [
        ("status=done", "status", "expected one of pending"),
        ("flagged=maybe", "flagged", "expected 1 or 0, found 'maybe'"),
        ("tag=team", "tag", "expected key=value, found 'team'"),
        ("since=yesterday", "since", "expected a time such as"),
        ("until=2026-02-05", "until", "expected a time with its zone"),
        ("cursor=%00", "cursor", "expected one that an earlier page gave"),
        ("name=" + "x" * 1100, "name", "at most 1024 characters"),
    ],
)
def test_what_makes_no_sense_is_told_and_does_not_filter(
    query: str, what: str, message: str
) -> None:
    """The field is named, so that the form can show the message beside it."""
    found = filters(f"{query}&name=import")
    assert [what] == list(found.problems)
    assert message in found.problems[what]


def test_an_address_changes_one_thing_and_keeps_the_rest() -> None:
    """A link to a status keeps the other filters, and begins on the first page."""
    found = filters(f"status=failed&name=a%26b&tag=x%3Dy+z%3D1&since=2h&cursor={CURSOR}")
    assert "?status=running&name=a%26b&tag=x%3Dy+z%3D1&since=2h" == found.query(
        status=["running"], cursor=None
    )
    assert "?flagged=0" == Filters(flagged=False).query()
    assert "" == found.query(status=[], name="", tag="", since="", cursor=None)


def test_only_filters_count_as_set() -> None:
    """The cursor is a place, no filter."""
    assert not filters(f"cursor={CURSOR}").are_set
    assert filters("flagged=0").are_set


def test_an_hour_of_the_chart_has_an_address() -> None:
    """It replaces the times of the address bar and keeps everything else."""
    found = filters("name=import&since=2h").within(START, timedelta(hours=1))
    again = filters(found.removeprefix("?"))
    assert ("import", START, START + timedelta(hours=1)) == (
        again.name,
        again.since_at,
        again.until_at,
    )


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(st.lists(st.tuples(st.sampled_from(["status", "name", "flagged", "tag", "since", "until", "cursor"]), words)))  # fmt: skip
def test_nothing_that_is_typed_breaks_the_page(items: list[tuple[str, str]]) -> None:
    """Whatever stands in the address bar: either it is a query that a store answers, or it is told what is wrong."""
    found = Filters.of(items, START)
    assert found.query().startswith("?") or not found.query()
    if not found.problems:
        asked = found.arguments
        RunQuery(
            name=asked["name"],
            tags=asked["tags"],
            since=asked["since"],
            until=asked["until"],
            cursor=asked["cursor"],
        )

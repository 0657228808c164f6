"""What every store promises about its answers."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from threading import Thread
from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.appending import CREATED, SHARED, STARTED
from contracts.kit import LONG, Writer, seen
from lastword.domain.errors import InvalidInput
from lastword.domain.events import (
    TERMINAL_TOPICS,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunFailed,
    RunProgressed,
)
from lastword.domain.status import RunStatus
from lastword.domain.values import ErrorInfo, RunId
from lastword.projections.ports import RunStore
from lastword.projections.queries import RunQuery, Tally, TallyQuery, matches
from lastword.projections.run_view import RunView
from lastword.testing import START

_ENDS = {
    RunStatus.COMPLETED: RunCompleted(),
    RunStatus.FAILED: RunFailed(error=ErrorInfo(type="E", message="m")),
    RunStatus.CANCELLED: RunCancelled(),
}
_NAMES = ("import", "export", "Import")
_TAGS = (
    {},
    {"team": "data"},
    {"team": "web"},
    {"team": "data", "env": "%"},
    {"team": "data", "env": ""},
)
_MOMENTS = [START + timedelta(seconds=seconds) for seconds in (-1, 0, 3, 3.000001, 9, 30)]

queries = st.builds(
    RunQuery,
    statuses=st.none() | st.frozensets(st.sampled_from(RunStatus)),
    name=st.none() | st.sampled_from([*_NAMES, "nobody"]),
    tags=st.sampled_from([*_TAGS, {"team": "nobody"}, {"env": ""}]),
    since=st.none() | st.sampled_from(_MOMENTS),
    until=st.none() | st.sampled_from(_MOMENTS),
    limit=st.sampled_from([1, 2, 5, 50]),
)


tallies = st.builds(
    TallyQuery,
    since=st.sampled_from(_MOMENTS),
    stretch=st.sampled_from(
        [timedelta(microseconds=1), timedelta(seconds=0.7), timedelta(hours=1)]
    ),
    stretches=st.sampled_from([1, 2, 24]),
    name=st.none() | st.sampled_from([*_NAMES, "nobody"]),
)


def populate(store: RunStore, runs: int = 60) -> list[RunView]:
    """Runs of every status, name and set of tags; three were created at each moment. Newest first."""
    writer = Writer(store)
    for number in range(runs):
        at = START + timedelta(seconds=number // 3 % 10)
        status = list(RunStatus)[number % 5]
        creation = RunCreated(name=_NAMES[number % 3], tags=_TAGS[number // 5 % 5])
        writer.add(number, creation, at=at)
        if status is not RunStatus.PENDING:
            writer.add(number, STARTED, at=at)
        if status in _ENDS:
            writer.add(number, _ENDS[status], at=at)
    number_of = {view.run_id: number for number, view in enumerate(writer.views.values())}
    return sorted(
        writer.views.values(),
        key=lambda view: (view.created_at, number_of[view.run_id]),
        reverse=True,
    )


def pages(store: RunStore, query: RunQuery) -> list[RunView]:
    """All pages of a query; checks that each but the last is full."""
    found: list[RunView] = []
    cursor = None
    while True:
        page = store.query(
            RunQuery(
                statuses=query.statuses,
                name=query.name,
                tags=query.tags,
                since=query.since,
                until=query.until,
                limit=query.limit,
                cursor=cursor,
            )
        )
        found += page
        cursor = page.next_cursor
        if cursor is None:
            return found
        assert len(page) == query.limit


class Asking:
    """Answers agree with the pure functions, in a fixed order, page by page."""

    def test_an_empty_store_has_an_answer_to_everything(self, store: RunStore):
        """Nothing is there, and nothing fails."""
        assert store.view("a") is None
        assert store.read_run("a") == []
        assert store.read(0, 10) == []
        assert store.last_position() == 0
        assert list(store.query(RunQuery())) == []
        assert list(store.active()) == []
        assert store.find("a") == []
        assert store.counts() == dict.fromkeys(RunStatus, 0)
        empty = TallyQuery(since=START, stretch=timedelta(hours=1), stretches=2)
        assert store.tally(empty).numbers == ({}, {})
        assert list(store.scan()) == []
        assert store.rebuild() == 0

    # -- queries

    def test_a_query_agrees_with_the_pure_function(self, store: RunStore):
        """Any filter finds what `matches` says, newest first, over all pages."""
        everything = populate(store)

        @SHARED
        @given(queries)
        def agree(query: RunQuery) -> None:
            expected = [view for view in everything if matches(view, query)]
            assert [v.run_id for v in pages(store, query)] == [v.run_id for v in expected]
            assert list(store.query(query)) == expected[: query.limit]

        agree()

    def test_a_tally_agrees_with_counting_one_by_one(self, store: RunStore):
        """Each run that the query covers stands in the stretch in which it was created, under its status."""
        everything = populate(store)

        @SHARED
        @given(tallies)
        def agree(query: TallyQuery) -> None:
            expected: list[dict[RunStatus, int]] = [{} for _ in range(query.stretches)]
            for view in everything:
                wanted = RunQuery(name=query.name, since=query.since, until=query.until)
                if matches(view, wanted):
                    at = expected[(view.created_at - query.since) // query.stretch]
                    at[view.status] = at.get(view.status, 0) + 1
            assert Tally(query, tuple(expected), frozenset()) == store.tally(query)

        agree()

    def test_a_tally_that_reaches_its_limit_counts_the_newest_and_says_so(self, store: RunStore):
        """60 runs, 12 of each status: a limit of 13 reaches all, one of 3 the three newest of each."""
        everything = populate(store)
        span = timedelta(seconds=10)
        whole = store.tally(TallyQuery(since=START, stretch=span, stretches=1, limit=13))
        assert ((dict.fromkeys(RunStatus, 12),), frozenset()) == (whole.numbers, whole.capped)
        some = store.tally(
            TallyQuery(since=START, stretch=timedelta(seconds=1), stretches=10, limit=3)
        )
        assert frozenset(RunStatus) == some.capped
        newest = [view.created_at for view in everything if view.status is RunStatus.FAILED][:3]
        counted = {
            second: numbers.get(RunStatus.FAILED, 0) for second, numbers in enumerate(some.numbers)
        }
        assert {second: n for second, n in counted.items() if n} == dict(
            Counter((at - START) // timedelta(seconds=1) for at in newest)
        )

    def test_runs_created_meanwhile_do_not_shift_a_page(self, store: RunStore):
        """Not when they are newer, and not when they were created at the very same moment."""
        expected = [view.run_id for view in populate(store, 20)]
        first = store.query(RunQuery(limit=7))
        latest = first[0].created_at
        writer = Writer(store)
        writer.add("later", CREATED, at=latest + timedelta(days=1))
        writer.add("same moment", CREATED, at=latest)
        rest = pages_behind(store, first.next_cursor)
        assert [view.run_id for view in first] + rest == expected

    def test_a_query_keeps_what_it_is_told_to(self, store: RunStore):
        """`keep` is asked for every run; pages are full nonetheless, and their cursors work."""
        expected = [view.run_id for view in populate(store) if view.run_id % 7 == 0]
        found: list[RunId] = []
        cursor = None
        while True:
            page = store.query(RunQuery(limit=4, cursor=cursor), lambda view: view.run_id % 7 == 0)
            found += [view.run_id for view in page]
            cursor = page.next_cursor
            if cursor is None:
                break
            assert len(page) == 4
        assert found == expected

    def test_a_cursor_beyond_all_numbers_is_refused(self, store: RunStore):
        """A forged cursor gives a clear error."""
        populate(store, 5)
        forged = "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5Ljk"  # 999999999999999999999999999.9
        with pytest.raises(InvalidInput):
            store.query(RunQuery(cursor=forged))

    def test_active_runs_come_oldest_first(self, store: RunStore):
        """All of them, also when there are more than a store reads at once."""
        writer = Writer(store)
        for number in range(1100):
            writer.add(number, CREATED, at=START - timedelta(seconds=number // 2))
        for number in (3, 500):
            writer.add(number, RunCancelled())
        expected = [
            number
            for number in sorted(range(1100), key=lambda number: (-(number // 2), number))
            if number not in {3, 500}
        ]
        assert [view.run_id for view in store.active()] == expected

    def test_counts_follow_every_change(self, store: RunStore):
        """Every status has its number, and the numbers agree with the rows."""
        everything = populate(store)
        expected = {
            status: sum(view.status == status for view in everything) for status in RunStatus
        }
        assert store.counts() == expected
        store.rebuild()
        assert store.counts() == expected
        Writer(store, views={"0": seen(store.view(0))}).add(0, RunCancelled())
        expected[RunStatus.PENDING] -= 1
        expected[RunStatus.CANCELLED] += 1
        assert store.counts() == expected

    @pytest.mark.parametrize(
        ("fragment", "expected"),
        [
            ("run", ["run-1", "run-12"]),
            ("run-1", ["run-1"]),
            ("-12", ["run-12"]),
            ("12", [12]),
            ("2", [2345, "run-12", 12]),
            ("%", ["%_%"]),
            ("_", []),
            ("_%", ["%_%"]),
            ("RUN", []),
            ("nothing", []),
            ("", []),
        ],
    )
    def test_an_id_is_found_by_either_end(
        self, store: RunStore, fragment: str, expected: list[RunId]
    ):
        """First the ones that begin with it, then the ones that end with it; an exact one alone."""
        writer = Writer(store)
        for run_id in ("run-1", "run-12", 12, 2345, "%_%"):
            writer.add(run_id, CREATED)
        found = store.find(fragment)
        assert sorted(map(str, found)) == sorted(map(str, expected))
        assert [type(run_id) for run_id in sorted(found, key=str)] == [
            type(run_id) for run_id in sorted(expected, key=str)
        ]

    def test_find_stops_at_its_limit(self, store: RunStore):
        """Prefixes go before suffixes."""
        writer = Writer(store)
        for run_id in ("x1", "x2", "1x", "2x"):
            writer.add(run_id, CREATED)
        assert store.find("x", 3)[:2] == ["x1", "x2"]
        assert len(store.find("x", 3)) == 3
        assert store.find("x", 1) == ["x1"]

    # -- the log

    def test_events_are_read_in_order_of_position(self, store: RunStore):
        """Behind a position, up to a limit, and of some topics only."""
        writer = Writer(store)
        for number in range(5):
            writer.start(number)
            writer.add(number, RunProgressed(current=1))
        for number in (2, 0):
            writer.add(number, RunCompleted())
        writer.add(4, RunCancelled())
        everything = store.read(0, 100)
        assert [event.position for event in everything] == sorted(
            event.position for event in everything
        )
        assert store.read(everything[3].position, 4) == everything[4:8]
        assert store.last_position() == everything[-1].position
        for topics in (TERMINAL_TOPICS, ("RunCompleted",), ("RunStarted", "RunCancelled"), ("No",)):
            expected = [event for event in everything if event.type in topics]
            assert store.read(0, 100, topics) == expected
            assert store.read(0, 1, topics) == expected[:1]
            if len(expected) > 1:
                assert store.read(expected[0].position, 100, topics) == expected[1:]
        assert store.read(0, 0) == []
        assert store.read(10**6, 10) == []

    # -- waiting

    def test_waiting_ends_at_once_when_there_is_an_event(self, store: RunStore):
        """No time passes."""
        Writer(store).add("a", CREATED)
        began = monotonic()
        assert store.wait(0, LONG) is True
        assert monotonic() - began < LONG / 2

    def test_waiting_ends_in_vain_after_its_time(self, store: RunStore):
        """An event at the position itself is not behind it."""
        position = Writer(store).add("a", CREATED).events[0].position
        assert store.wait(position, 0.05) is False
        assert store.wait(position, 0) is False

    def test_an_append_wakes_those_who_wait(self, store: RunStore):
        """In another thread of the process."""
        answers: list[bool] = []
        waiting = Thread(target=lambda: answers.append(store.wait(0, LONG)))
        waiting.start()
        Writer(store).add("a", CREATED)
        waiting.join(LONG)
        assert answers == [True]

    def test_closing_wakes_those_who_wait(self, store: RunStore):
        """They are told that there is no event."""
        answers: list[bool] = []
        waiting = Thread(target=lambda: answers.append(store.wait(0, LONG)))
        began = monotonic()
        waiting.start()
        store.close()
        waiting.join(LONG)
        assert answers == [False]
        assert monotonic() - began < LONG / 2
        assert store.wait(0, LONG) is False


def pages_behind(store: RunStore, cursor: str | None) -> list[RunId]:
    """The ids on all pages from the cursor on."""
    found: list[RunId] = []
    while cursor is not None:
        page = store.query(RunQuery(limit=7, cursor=cursor))
        found += [view.run_id for view in page]
        cursor = page.next_cursor
    return found

"""The timeline and the strip chart, as numbers."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastword.domain.events import (
    RunCompleted,
    RunCreated,
    RunEvent,
    RunLost,
    RunProgressed,
    RunStarted,
)
from lastword.domain.status import FlagReason, RunStatus
from lastword.infrastructure.web.pages.strip import HEIGHT, HOURS, first_hour, strip
from lastword.infrastructure.web.pages.timeline import Timeline, timeline
from lastword.projections.flags import Flag
from lastword.projections.queries import Tally, TallyQuery
from lastword.projections.run_view import fold_view
from lastword.testing import OWNER, START, recorded

HOUR = timedelta(hours=1)
CREATED, STARTED = RunCreated(name="import"), RunStarted(owner=OWNER)


def drawn(
    *happened: tuple[float, RunEvent],
    now: float = 100,
    late: float = 0,
    flag: FlagReason | None = None,
) -> Timeline:
    """The timeline of events at these seconds; the last one reached the store `late` seconds later."""
    history = [
        item.model_copy(update={"occurred_at": at(second), "recorded_at": at(second)})
        for item, (second, _) in zip(recorded(*(e for _, e in happened)), happened, strict=True)
    ]
    history[-1] = history[-1].model_copy(update={"recorded_at": history[-1].occurred_at + timedelta(seconds=late)})  # fmt: skip
    view = fold_view(history)
    assert view is not None
    if flag is not None:
        view = view.model_copy(update={"flag": Flag(reason=flag, since=START, detail="")})
    return timeline(view, history, at(now))


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def parts(found: Timeline) -> list[tuple[str, float, float]]:
    return [(stretch.kind, stretch.left, stretch.width) for stretch in found.stretches]


def test_a_run_that_ended_fills_the_width_to_scale() -> None:
    """Ten seconds of waiting and thirty of work are a quarter and three quarters."""
    found = drawn((0, CREATED), (10, STARTED), (40, RunCompleted()))
    assert [("waiting", 0, 25), ("running", 25, 75)] == parts(found)
    assert [("RunCreated", 0), ("RunStarted", 25), ("RunCompleted", 100)] == [
        (mark.kind, mark.at) for mark in found.marks
    ]
    assert ["10 s", "20 s", "30 s", "40 s"] == [tick.label for tick in found.ticks]
    assert "40.0 s in all: waiting 10.0 s, running 30.0 s." == found.words
    assert not found.ongoing


def test_a_run_that_goes_on_reaches_to_now() -> None:
    """Now is marked."""
    found = drawn((0, CREATED), (50, STARTED), now=100)
    assert [("waiting", 0, 50), ("running", 50, 50)] == parts(found)
    assert ("now", 100) == (found.marks[-1].kind, found.marks[-1].at)


def test_nobody_began_it() -> None:
    """The whole of it is waiting."""
    assert [("waiting", 0, 100)] == parts(drawn((0, CREATED), now=100))


@pytest.mark.parametrize("flag", [FlagReason.SILENT, FlagReason.OWNER_GONE])
def test_the_time_since_the_owner_was_heard_of_is_drawn_apart(flag: FlagReason) -> None:
    """So that one sees for how long nobody knows."""
    found = drawn((0, CREATED), (0, STARTED), (20, RunProgressed(current=1)), now=100, flag=flag)
    assert [("waiting", 0, 0), ("running", 0, 20), ("unheard", 20, 80)] == parts(found)


def test_a_run_that_was_given_up_shows_what_was_not_heard() -> None:
    """Up to the verdict."""
    found = drawn((0, CREATED), (0, STARTED), (25, RunProgressed(current=1)), (50, RunLost(flag=FlagReason.SILENT)))  # fmt: skip
    assert [("waiting", 0, 0), ("running", 0, 50), ("unheard", 50, 50)] == parts(found)


def test_an_overdue_run_is_still_heard_of() -> None:
    """Its owner beats; the flag is about its deadline."""
    found = drawn((0, CREATED), (0, STARTED), now=100, flag=FlagReason.OVERDUE)
    assert ["waiting", "running"] == [stretch.kind for stretch in found.stretches]


def test_what_the_store_took_late_is_marked_where_it_happened_and_where_it_was_stored() -> None:
    """And the time after the run's end is no work."""
    found = drawn((0, CREATED), (0, STARTED), (50, RunCompleted()), late=50)
    assert [("waiting", 0, 0), ("running", 0, 50), ("after", 50, 50)] == parts(found)
    assert [("RunCompleted", 50), ("stored", 100)] == [(m.kind, m.at) for m in found.marks[-2:]]


@pytest.mark.parametrize(("deadline", "end"), [(150, 150), (80, 100), (1000, 100)])
def test_a_deadline_is_in_the_picture_when_it_is_near(deadline: float, end: float) -> None:
    """One that is far away would squeeze the rest."""
    created = RunCreated(name="import", deadline_at=at(deadline))
    found = drawn((0, created), (0, STARTED), now=100)
    assert timedelta(seconds=end) == found.length
    assert (deadline <= end) == ("deadline" in {mark.kind for mark in found.marks})


def test_a_day_of_progress_is_drawn_with_few_marks() -> None:
    """86,400 reports fit into 200 marks."""
    day = [(float(second), RunProgressed(current=second)) for second in range(0, 86_400, 40)]
    found = drawn((0, CREATED), (0, STARTED), *day, now=86_400)
    progress = [mark for mark in found.marks if mark.kind == "RunProgressed"]
    assert 150 < len(progress) <= 200
    assert ["6 h", "12 h", "18 h", "1 d"] == [tick.label for tick in found.ticks]


@pytest.mark.parametrize(
    ("length", "labels"),
    [
        (0.003, ["1 ms", "2 ms", "3 ms"]),
        (1.2, ["500 ms", "1 s"]),
        (90, ["30 s", "1 min", "1.5 min"]),
        (86_400 * 400, ["365 d"]),
    ],
)
def test_the_scale_has_a_few_round_steps(length: float, labels: list[str]) -> None:
    """Whether it took milliseconds or a year."""
    found = drawn((0, CREATED), (0, STARTED), (length, RunCompleted()))
    assert labels == [tick.label for tick in found.ticks]


seconds = st.floats(-1e6, 1e6, allow_nan=False)


@given(st.lists(seconds, min_size=2, max_size=6), seconds, st.floats(0, 1e6))
def test_nothing_is_drawn_outside(times: list[float], now: float, late: float) -> None:
    """Also when clocks disagree and events happened in an order that cannot be."""
    events: list[RunEvent] = [CREATED, STARTED, *([RunProgressed(current=1)] * 9), RunCompleted()]
    found = drawn(*zip(times, events, strict=False), now=now, late=late)
    for stretch in found.stretches:
        assert 0 <= stretch.left <= 100
        assert 0 <= stretch.width <= 100
        assert stretch.left + stretch.width <= 100.01
    assert all(0 <= mark.at <= 100 for mark in found.marks)
    assert len(found.ticks) <= 4
    assert all(0 < tick.at <= 100 for tick in found.ticks)


# -- the strip chart


def tally(*hours: dict[RunStatus, int], limit: int = 50_000) -> Tally:
    query = TallyQuery(since=START, stretch=HOUR, stretches=len(hours), limit=limit)
    return Tally.of(
        query, ((n, s, runs) for n, hour in enumerate(hours) for s, runs in hour.items())
    )


C, F, R = RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.RUNNING


def test_bars_stand_on_the_line_and_the_fullest_reaches_the_top() -> None:
    """Completed below, failed above it; half as many runs are half as high."""
    chart = strip(tally({C: 30, F: 10}, {}, {C: 20}))
    first, empty, half = chart.bars
    assert [(C, HEIGHT / 4, HEIGHT * 3 / 4), (F, 0, HEIGHT / 4)] == [
        (part.status, part.y, part.height) for part in first.parts
    ]
    assert () == empty.parts
    assert [(C, HEIGHT / 2, HEIGHT / 2)] == [(p.status, p.y, p.height) for p in half.parts]
    assert (40, 60, {C: 50, F: 10}) == (chart.most, chart.total, {s: n for s, n in chart.totals.items() if n})  # fmt: skip


def test_one_failure_among_thousands_is_seen() -> None:
    """A part that is not zero has at least two pixels."""
    bar = strip(tally({C: 9_999, F: 1})).bars[0]
    assert (F, 2) == (bar.parts[-1].status, bar.parts[-1].height)
    assert HEIGHT == sum(part.height for part in bar.parts)


def test_the_chart_is_said_in_words() -> None:
    """For those who cannot see it."""
    chart = strip(tally({}, {C: 1_200, F: 3}))
    assert (
        "1,203 runs were created in the last 24 hours: 1,200 completed, 3 failed."
        f" Most in one hour: 1,203, from {(START + HOUR):%H:%M} UTC." == chart.words
    )
    assert "No run was created in the last 24 hours." == strip(tally({})).words


def test_a_cap_is_told() -> None:
    """Which statuses have more runs than were counted."""
    assert (C,) == strip(tally({C: 10, F: 9}, limit=10)).capped


def test_the_hour_of_now_is_the_last() -> None:
    """24 whole hours of UTC."""
    now = START.replace(hour=9, minute=59, second=59, microsecond=999_999)
    assert now.replace(minute=0, second=0, microsecond=0) == first_hour(now) + (HOURS - 1) * HOUR


@given(st.lists(st.dictionaries(st.sampled_from(RunStatus), st.integers(1, 10**7)), min_size=1, max_size=24))  # fmt: skip
def test_no_bar_is_higher_than_the_chart_and_no_part_is_lost(hours: list[dict[RunStatus, int]]) -> None:  # fmt: skip
    """Whatever was counted."""
    for found, bar in zip(hours, strip(tally(*hours, limit=10**9)).bars, strict=True):
        assert set(found) == {part.status for part in bar.parts}
        assert all(part.height >= 2 and part.y >= -0.05 for part in bar.parts)
        assert sum(part.height for part in bar.parts) <= HEIGHT + 0.05

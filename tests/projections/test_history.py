"""A run as it was: the fold of the part of its history that belongs to the moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastword.domain.errors import InvalidInput
from lastword.domain.events import (
    RecordedEvent,
    RunCompleted,
    RunCreated,
    RunEvent,
    RunLost,
    RunStarted,
)
from lastword.domain.status import FlagReason, RunStatus
from lastword.projections.history import as_of, snapshot_of, until
from lastword.projections.ports import Past
from lastword.projections.run_view import fold_view
from lastword.testing import OWNER, START, recorded
from strategies import event_strategies, events

SECOND = timedelta(seconds=1)

whens = st.integers(-5, 60).map(lambda seconds: START + seconds * SECOND)


@st.composite
def histories(draw: st.DrawFn) -> list[RecordedEvent]:
    """Any events behind a creation; recorded in order, having happened at any time before."""
    first: RunCreated = draw(event_strategies[RunCreated])
    rest: list[RunEvent] = draw(st.lists(events, max_size=8))
    late = draw(st.lists(st.integers(0, 30), min_size=9, max_size=9))
    step = draw(st.integers(0, 6)) * SECOND
    return [
        item.model_copy(update={"occurred_at": item.recorded_at - seconds * SECOND})
        for item, seconds in zip(recorded(first, *rest, step=step), late, strict=False)
    ]


@given(histories(), whens)
def test_as_of_is_the_fold_of_the_prefix(history: list[RecordedEvent], when: datetime) -> None:
    """By the time of recording, for any history and any moment."""
    known = sum(event.recorded_at <= when for event in history)
    assert fold_view(history[:known]) == as_of(history, when)
    assert history[:known] == until(history, when)


@given(histories(), whens)
def test_by_occurrence_it_is_the_fold_of_what_had_happened(
    history: list[RecordedEvent], when: datetime
) -> None:
    """Late events included; nothing before the creation has happened."""
    happened = [event for event in history if event.occurred_at <= when]
    exists = history[0].occurred_at <= when
    assert (fold_view(happened) if exists else None) == as_of(history, when, "occurred")


@given(histories())
def test_at_its_ends_the_past_is_nothing_and_the_present(history: list[RecordedEvent]) -> None:
    """A moment is included; the microsecond before is not."""
    assert as_of(history, history[0].recorded_at - timedelta(microseconds=1)) is None
    assert as_of(history, history[0].recorded_at) is not None
    assert fold_view(history) == as_of(history, history[-1].recorded_at)
    assert fold_view(history) == as_of(history, datetime.max.replace(tzinfo=UTC), "occurred")


def test_what_was_true_and_what_was_known() -> None:
    """A run that had completed and was given up: who asks later for the moment between gets another answer than who asked then."""
    created, started, lost, completed = recorded(
        RunCreated(name="import"),
        RunStarted(owner=OWNER),
        RunLost(flag=FlagReason.SILENT),
        RunCompleted(),
    )
    completed = completed.model_copy(update={"occurred_at": started.occurred_at})
    history = [created, started, lost, completed]
    knew, true = as_of(history, lost.recorded_at), as_of(history, lost.recorded_at, "occurred")
    assert knew is not None
    assert true is not None
    assert (RunStatus.FAILED, True) == (knew.status, knew.status_update_failed)
    assert (RunStatus.COMPLETED, False) == (true.status, true.status_update_failed)


@pytest.mark.parametrize("when", [datetime(2026, 1, 1), "2026-01-01", None])  # noqa: DTZ001  # a naive one is the point
def test_a_moment_needs_a_zone(when: datetime) -> None:
    """What could be any moment of a day is refused."""
    with pytest.raises(InvalidInput, match="when: expected an aware datetime"):
        as_of(recorded(RunCreated(name="import")), when)


@pytest.mark.parametrize("by", ["stored", "", None, []])
def test_there_are_two_times(by: str) -> None:
    """Another word is refused, and the two are named."""
    with pytest.raises(InvalidInput, match=r"by: expected 'recorded' .* or 'occurred'"):
        as_of(recorded(RunCreated(name="import")), START, by)  # pyright: ignore[reportArgumentType]  # that is the point


def test_a_snapshot_counts_what_is_settled_and_folds_the_rest() -> None:
    """Every status has a number; the active ones are listed, oldest first."""
    under_way = tuple(recorded(RunCreated(name="a"), RunStarted(owner=OWNER), RunCompleted()))
    row = fold_view(recorded(RunCreated(name="b"), run_id=2, start=START - SECOND))
    assert row is not None
    later = tuple(recorded(RunCreated(name="c"), run_id=3, start=START + 60 * SECOND))
    past = Past(5, {RunStatus.FAILED: 7}, (row,), (under_way, later))
    snapshot = snapshot_of(past, START + SECOND)
    expected = {RunStatus.PENDING: 1, RunStatus.RUNNING: 1, RunStatus.FAILED: 7}
    assert {status: expected.get(status, 0) for status in RunStatus} == snapshot.counts
    assert [row, fold_view(under_way[:2])] == list(snapshot.active)
    assert (START + SECOND, "recorded", 5) == (snapshot.when, snapshot.by, snapshot.position)
    assert snapshot == type(snapshot).model_validate(snapshot.model_dump())

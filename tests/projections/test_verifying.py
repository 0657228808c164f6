"""What a verification says of one run, and of many."""

from __future__ import annotations

import pytest

from lastword.domain.events import RunCompleted, RunCreated, RunStarted
from lastword.projections.ports import Flaw, ScannedRun
from lastword.projections.problems import REBUILD, RESTORE, UPGRADE, Problem, ProblemKind, problem
from lastword.projections.run_view import fold_view
from lastword.projections.verifying import MAX_PROBLEMS, problems_of, verify
from lastword.testing import OWNER, recorded

HISTORY = tuple(recorded(RunCreated(name="import"), RunStarted(owner=OWNER), RunCompleted()))
ROW = fold_view(HISTORY)
WHOLE = ScannedRun(1, HISTORY, ROW)


def found(run: ScannedRun) -> list[tuple[ProblemKind, str]]:
    return [(item.kind, item.what) for item in problems_of(run)]


def test_a_whole_history_with_its_row_is_in_order() -> None:
    """Nothing to say."""
    assert [] == list(problems_of(WHOLE))


@pytest.mark.parametrize("missing", [1, 2])
def test_a_missing_event_is_a_gap(missing: int) -> None:
    """With the versions that are missing; and it comes from a backup."""
    events = tuple(event for event in HISTORY if event.version != missing)
    first, *_ = problems_of(ScannedRun(1, events, ROW))
    assert (1, ProblemKind.GAP, RESTORE) == (first.run_id, first.kind, first.remedy)
    assert f"events: expected versions 1 to 3 without gaps, missing [{missing}]" == first.what


def test_a_history_without_its_beginning_has_no_row_to_compare() -> None:
    """That it cannot be folded is told as well, and nothing more."""
    gap, beginning = problems_of(ScannedRun(1, HISTORY[1:], ROW))
    assert [(1, ProblemKind.GAP)] * 2 == [(item.run_id, item.kind) for item in (gap, beginning)]
    assert "run 1: expected its history to begin with RunCreated" in beginning.what


def test_of_many_versions_ten_are_told() -> None:
    """Missing ones, or those that are there, when one is there twice."""
    far = HISTORY[1].model_copy(update={"version": 30})
    missing, *_ = found(ScannedRun(1, (HISTORY[0], far), ROW))
    assert (
        f"events: expected versions 1 to 30 without gaps, missing {[*range(2, 12)]}" == missing[1]
    )
    again = (HISTORY[0],) * 11
    twice, *_ = found(ScannedRun(1, again, ROW))
    assert f"events: expected versions 1 to 1 without gaps, found {[1] * 10}" == twice[1]


def test_the_last_event_missing_shows_in_the_row() -> None:
    """The row knows more than the history; every field that differs is told with both values."""
    differences = list(problems_of(ScannedRun(1, HISTORY[:2], ROW)))
    assert {(1, ProblemKind.ROW)} == {(item.run_id, item.kind) for item in differences}
    told = dict(item.what.removeprefix("row: ").split(": ", 1) for item in differences)
    assert {"status", "finished_at", "last_seen_at", "version", "position"} == set(told)
    assert "expected 2 from the events, found 3" == told["version"]
    assert told["status"].startswith("expected <RunStatus.RUNNING")


@pytest.mark.parametrize(("positions", "at"), [((1, 3, 2), 2), ((3, 2, 1), 2), ((1, 2, 2), 2)])
def test_events_that_changed_places_are_found(positions: tuple[int, ...], at: int) -> None:
    """Versions are right, positions go back, or do not go on; the first such place is told."""
    swapped = tuple(
        event.model_copy(update={"position": position})
        for event, position in zip(HISTORY, positions, strict=True)
    )
    (order,) = problems_of(ScannedRun(1, swapped, fold_view(swapped)))
    assert (1, ProblemKind.ORDER, at) == (order.run_id, order.kind, order.position)


@pytest.mark.parametrize(
    ("flaw", "remedy"),
    [
        (Flaw(ProblemKind.NEWER, "RunPaused is not known", 2), UPGRADE),
        (Flaw(ProblemKind.UNDECODABLE, "no JSON", 2), RESTORE),
    ],
)
def test_what_cannot_be_read_is_told_once(flaw: Flaw, remedy: str) -> None:
    """A fold over half a history would only say the same again."""
    run = ScannedRun(1, HISTORY[::2], ROW, (flaw,))
    expected = Problem(kind=flaw.kind, run_id=1, position=2, what=flaw.what, remedy=remedy)
    assert [expected] == list(problems_of(run))


def test_a_row_that_cannot_be_read_does_not_hide_a_gap() -> None:
    """The events are looked at all the same."""
    run = ScannedRun(1, HISTORY[::2], None, (Flaw(ProblemKind.ROW, "no row"),))
    assert [ProblemKind.ROW, ProblemKind.GAP] == [kind for kind, _ in found(run)]


def test_rows_and_events_that_miss_each_other() -> None:
    """A row without events, and events without a row, are repaired by a rebuild."""
    for run, what in (
        (ScannedRun(1, (), ROW), "row: expected events behind it, found none"),
        (ScannedRun(1, HISTORY, None), "row: expected one, found none"),
    ):
        (item,) = problems_of(run)
        assert (1, ProblemKind.ROW, REBUILD) == (item.run_id, item.kind, item.remedy)
        assert what == item.what


def test_a_report_counts_what_it_does_not_hold() -> None:
    """Memory stays flat also when everything is wrong; progress is told after each run."""
    done: list[int] = []
    runs = (ScannedRun(number, HISTORY, None) for number in range(MAX_PROBLEMS + 5))
    beside = problem(ProblemKind.COUNTER, "counters: failed: expected 1, found 2")
    report = verify(runs, done.append, [beside])
    assert (MAX_PROBLEMS, 6, False) == (len(report.problems), report.omitted, report.ok)
    assert beside == report.problems[0]
    assert (0, None) == (report.archived, report.seal)
    assert (MAX_PROBLEMS + 5, 3 * (MAX_PROBLEMS + 5)) == (report.runs, report.events)
    assert list(range(1, MAX_PROBLEMS + 6)) == done

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
    assert (ProblemKind.GAP, RESTORE) == (first.kind, first.remedy)
    assert f"expected versions 1 to 3 without gaps, missing [{missing}]" in first.what


def test_the_last_event_missing_shows_in_the_row() -> None:
    """The row knows more than the history; every field that differs is told with both values."""
    what = dict.fromkeys(text for _, text in found(ScannedRun(1, HISTORY[:2], ROW)))
    assert "row: version: expected 2 from the events, found 3" in what
    assert any(text.startswith("row: status: expected <RunStatus.RUNNING") for text in what)


def test_events_that_changed_places_are_found() -> None:
    """Versions are right, positions go back."""
    first, second, third = HISTORY
    swapped = (
        first,
        second.model_copy(update={"position": 3}),
        third.model_copy(update={"position": 2}),
    )
    order, *_ = problems_of(ScannedRun(1, swapped, ROW))
    assert (ProblemKind.ORDER, 2) == (order.kind, order.position)


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
    for run in (ScannedRun(1, (), ROW), ScannedRun(1, HISTORY, None)):
        (item,) = problems_of(run)
        assert (ProblemKind.ROW, REBUILD) == (item.kind, item.remedy)


def test_a_report_counts_what_it_does_not_hold() -> None:
    """Memory stays flat also when everything is wrong; progress is told after each run."""
    done: list[int] = []
    runs = (ScannedRun(number, HISTORY, None) for number in range(MAX_PROBLEMS + 5))
    beside = problem(ProblemKind.COUNTER, "counters: failed: expected 1, found 2")
    report = verify(runs, done.append, [beside])
    assert (MAX_PROBLEMS, 6, False) == (len(report.problems), report.omitted, report.ok)
    assert beside == report.problems[0]
    assert (MAX_PROBLEMS + 5, 3 * (MAX_PROBLEMS + 5)) == (report.runs, report.events)
    assert list(range(1, MAX_PROBLEMS + 6)) == done

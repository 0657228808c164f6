"""Is each row the fold of its run's events? Is each history whole?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

from pydantic import BaseModel, ConfigDict

from ..domain.errors import StoreCorrupt
from .ports import ScannedRun, SoundRuns
from .problems import Problem, ProblemKind, problem
from .run_view import RunView, fold_view

MAX_PROBLEMS = 1000
"""How many problems a report holds; the others are only counted."""


class SealCheck(BaseModel):
    """How the log compares with a seal."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    position: int
    """The last position that the seal covers."""
    events: int
    """How many events it covers, from the beginning of the log on."""
    vouched: int
    """How many of them are not there any more as they were, archived or erased, and are vouched for by what recorded that."""
    differs_at: int | None
    """The first position that is not as it was sealed; None when all are."""
    changed: int
    """Positions that hold another event than the one that was sealed."""
    missing: int
    """Positions whose event is gone."""
    unexpected: int
    """Positions that held no event when the log was sealed."""

    @property
    def ok(self) -> bool:
        """True when the log is what it was when it was sealed."""
        return self.differs_at is None


class VerifyReport(BaseModel):
    """What a verification found."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    runs: int
    """Runs looked at."""
    events: int
    """Events folded."""
    problems: tuple[Problem, ...]
    """At most 1,000."""
    omitted: int
    """How many more problems there are."""
    archived: int = 0
    """Events that are gone: they were archived, and tombstones alone vouch for them."""
    seal: SealCheck | None = None
    """How the log compares with the seal that was given; None when none was."""

    @property
    def ok(self) -> bool:
        """True when nothing is wrong."""
        return not self.problems


def verify(
    scanned: Iterable[ScannedRun | SoundRuns],
    progress: Callable[[int], None] | None = None,
    beside: Iterable[Problem] = (),
) -> VerifyReport:
    """Fold every run's events and compare with its row, field by field, unless the store has done so and found it sound; what is wrong
    `beside` the runs goes into the report, too.

    `progress` is called with the number of runs done. Uses memory for one run at a time, and for the problems.
    """
    runs = events = omitted = 0
    problems: list[Problem] = []

    def report(found: Iterable[Problem]) -> None:
        nonlocal omitted
        for item in found:
            if len(problems) < MAX_PROBLEMS:
                problems.append(item)
            else:
                omitted += 1

    report(beside)
    for run in scanned:
        if isinstance(run, SoundRuns):
            runs += run.runs
            events += run.events
        else:
            runs += 1
            events += len(run.events)
            report(problems_of(run))
        if progress is not None:
            progress(runs)
    return VerifyReport(runs=runs, events=events, problems=tuple(problems), omitted=omitted)


def problems_of(run: ScannedRun) -> Iterator[Problem]:
    """Everything that is wrong with one run."""
    for flaw in run.flaws:
        yield problem(flaw.kind, flaw.what, run_id=run.run_id, position=flaw.position)
    if any(flaw.kind is not ProblemKind.ROW for flaw in run.flaws):
        return  # a fold over half a history would only repeat what is known
    yield from _broken_order(run)
    try:
        folded = fold_view(run.events)
    except StoreCorrupt as error:
        yield problem(ProblemKind.GAP, str(error), run_id=run.run_id)
        return
    if not run.flaws:
        yield from _differences(run, folded)


def _broken_order(run: ScannedRun) -> Iterator[Problem]:
    """Versions without gaps; positions and times of recording that never go back."""
    versions = [recorded.version for recorded in run.events]
    if versions != list(range(1, len(versions) + 1)):
        last = max(versions)
        missing = sorted(set(range(1, last)) - set(versions))[:10]
        what = f"events: expected versions 1 to {last} without gaps, " + (
            f"missing {missing}" if missing else f"found {versions[:10]}"
        )
        yield problem(ProblemKind.GAP, what, run_id=run.run_id)
    for before, after in pairwise(run.events):
        if after.position <= before.position:
            what = (
                f"events: expected version {after.version} behind version {before.version}, found it before it,"
                f" at position {after.position} against {before.position}"
            )
            yield problem(ProblemKind.ORDER, what, run_id=run.run_id, position=after.position)
            return


def _differences(run: ScannedRun, folded: RunView | None) -> Iterator[Problem]:
    if folded is None:
        what = "row: expected events behind it, found none"
        yield problem(ProblemKind.ROW, what, run_id=run.run_id)
        return
    if run.row is None:
        yield problem(ProblemKind.ROW, "row: expected one, found none", run_id=run.run_id)
        return
    if run.row == folded:
        return
    for name in RunView.model_fields:
        expected, found = getattr(folded, name), getattr(run.row, name)
        if expected != found:
            what = f"row: {name}: expected {expected!r:.100} from the events, found {found!r:.100}"
            yield problem(ProblemKind.ROW, what, run_id=run.run_id)

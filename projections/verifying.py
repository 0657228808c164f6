"""Is each row the fold of its run's events? Is each history whole?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from pydantic import BaseModel, ConfigDict

from ..domain.errors import StoreCorrupt
from ..domain.values import RunId
from .ports import ScannedRun
from .run_view import RunView, fold_view


class Problem(BaseModel):
    """One thing that is not as the events say."""

    model_config = ConfigDict(frozen=True)

    run_id: RunId
    what: str
    """Where it is, what was expected and what was found."""
    remedy: str


class VerifyReport(BaseModel):
    """What a verification found."""

    model_config = ConfigDict(frozen=True)

    runs: int
    """Runs looked at."""
    events: int
    """Events folded."""
    problems: tuple[Problem, ...] = ()

    @property
    def ok(self) -> bool:
        """True when nothing is wrong."""
        return not self.problems


REBUILD = "`lastword rebuild` computes the rows anew from the events"
RESTORE = "the events themselves are damaged: restore them from a backup"


def verify(
    scanned: Iterable[ScannedRun], progress: Callable[[int], None] | None = None
) -> VerifyReport:
    """Fold every run's events and compare with its row, field by field.

    `progress` is called with the number of runs done. Uses memory for one run at a time, and for the problems.
    """
    runs = events = 0
    problems: list[Problem] = []
    for run in scanned:
        runs += 1
        events += len(run.events)
        problems.extend(problems_of(run))
        if progress is not None:
            progress(runs)
    return VerifyReport(runs=runs, events=events, problems=tuple(problems))


def problems_of(run: ScannedRun) -> Iterator[Problem]:
    """Everything that is wrong with one run."""
    for text in run.problems:
        yield Problem(run_id=run.run_id, what=text, remedy=RESTORE)
    versions = [recorded.version for recorded in run.events]
    if versions != list(range(1, len(versions) + 1)) and not run.problems:
        missing = sorted(set(range(1, max(versions, default=0) + 1)) - set(versions))
        what = (
            f"events: expected versions 1 to {max(versions)} without gaps, missing {missing[:10]}"
        )
        yield Problem(run_id=run.run_id, what=what, remedy=RESTORE)
    if run.problems:
        return  # a fold over half a history would only repeat what is known
    try:
        folded = fold_view(run.events)
    except StoreCorrupt as error:
        yield Problem(run_id=run.run_id, what=str(error), remedy=RESTORE)
        return
    yield from _differences(run, folded)


def _differences(run: ScannedRun, folded: RunView | None) -> Iterator[Problem]:
    if folded is None:
        yield Problem(
            run_id=run.run_id, what="row: expected events behind it, found none", remedy=REBUILD
        )
        return
    if run.row is None:
        yield Problem(run_id=run.run_id, what="row: expected one, found none", remedy=REBUILD)
        return
    for name in RunView.model_fields:
        expected, found = getattr(folded, name), getattr(run.row, name)
        if expected != found:
            what = f"row: {name}: expected {expected!r:.100} from the events, found {found!r:.100}"
            yield Problem(run_id=run.run_id, what=what, remedy=REBUILD)

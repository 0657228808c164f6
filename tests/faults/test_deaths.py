"""Real workers that are killed, frozen or never begin, and sweepers that race each other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from breaking import death
from breaking.processes import Child
from lastword import RunTracker

LOST = "failed (status_update_failed)"


@pytest.mark.parametrize(
    ("way", "flag", "after", "truth"),
    [
        (death.killed, "owner_gone", 0.5, ""),
        (death.suspended, "silent", 10.0, "completed"),
        (death.reused, "owner_gone", 0.5, "completed"),
        (death.rebooted, "owner_gone", 0.5, "completed"),
        (death.elsewhere, "silent", 10.0, "completed"),
        (death.never_started, "never_started", 10.0, ""),
    ],
)
def test_each_way_to_die(
    tmp_path: Path, way: Callable[[Path], death.DeathReport], flag: str, after: float, truth: str
) -> None:
    """The right flag, at once where it can be known at once; a verdict; and the truth wins whenever it comes."""
    report = way(tmp_path / "runs.db")
    assert (flag, LOST, truth) == (report.flag, report.verdict, report.truth)
    assert report.after < after
    if flag != "owner_gone":
        assert report.after >= death.LEASE * 0.8, "not before its time"
    assert (LOST, truth) == report.feed if truth else (LOST,) == report.feed


def test_two_sweepers_at_once(tmp_path: Path) -> None:
    """Two processes over the same forty dead runs: one verdict each."""
    first, second, verdicts = death.two_sweepers(tmp_path / "runs.db", 40)
    assert (40, 40) == (first + second, verdicts)


def test_no_verdict_on_a_living_worker(tmp_path: Path) -> None:
    """Another process works and beats; it is swept all the while and never declared lost."""
    report = death.sweep_a_slow_worker(tmp_path / "runs.db", 100, pause=0.02)
    assert (100, 0) == (report.sweeps, report.wrong)
    assert report.beats >= 2


def test_the_heartbeat_comes_back_after_an_outage_of_several_leases(tmp_path: Path) -> None:
    """The store is locked for three leases; afterwards the worker beats again, and nobody is declared lost."""
    report = death.beat_through_an_outage(tmp_path / "runs.db")
    assert (0, 0, "completed") == (report.flagged, report.verdicts, report.status)
    assert report.resumed < 10


def test_an_outcome_in_the_spool_comes_before_the_verdict(tmp_path: Path) -> None:
    """The worker is killed while its outcome waits; a sweeper that was there all the time delivers it before it judges."""
    store = tmp_path / "runs.db"
    with RunTracker(store, **death.SETTINGS) as sweeper, Child("full", store) as child:
        child.answer()
        child.kill()
        flagged = [view.run_id for view in sweeper.flagged()]
        assert ([1], [], "completed") == (flagged, sweeper.sweep(), sweeper.get(1).status)

"""A store that is altered behind our back: what `verify` finds alone, and what it finds with a seal."""

from __future__ import annotations

from pathlib import Path

import pytest

from lastword import RunTracker
from lastword.projections.problems import ProblemKind
from tampering import TAMPERINGS, Tampering, alter, build, try_out


@pytest.mark.parametrize("tampering", TAMPERINGS, ids=lambda it: it.name)
def test_every_alteration_is_found_with_a_seal(tampering: Tampering, tmp_path: Path) -> None:
    """The first position that differs is named; alone, `verify` finds what contradicts something else."""
    found = try_out(tampering, tmp_path / "x")
    assert (tampering.alone, True) == (found.alone, found.sealed)
    assert (tampering.position or None) == found.position
    seal = [it for it in found.report.problems if it.kind is ProblemKind.SEAL]
    assert [tampering.position] * bool(tampering.position) == [it.position for it in seal]
    assert all(f"position {tampering.position}:" in it.what and it.remedy for it in seal)


def test_a_store_that_nobody_altered_agrees_with_its_seal(tmp_path: Path) -> None:
    """Also after more has happened, a rebuild, and a VACUUM: none of these changes the log."""
    store, seal = tmp_path / "runs.db", tmp_path / "a.seal"
    build(store)
    with RunTracker(store) as tracker:
        tracker.seal(seal)
        tracker.create("later")
        tracker.rebuild()
    alter(store, lambda raw: None)
    with RunTracker(store) as tracker:
        tracker.store.recorder.datastore.fetch("VACUUM")  # pyright: ignore[reportAttributeAccessIssue]  # it is SQLite
        report = tracker.verify(seal=seal)
        assert report.ok
        assert report.seal is not None
        assert (20, 20, 0, None) == (
            report.seal.position,
            report.seal.events,
            report.seal.vouched,
            report.seal.differs_at,
        )


@pytest.mark.parametrize("tampering", TAMPERINGS, ids=lambda it: it.name)
def test_a_later_seal_shows_that_the_part_before_it_was_altered(
    tampering: Tampering, tmp_path: Path
) -> None:
    """It covers positions 18 on by itself, and carries the chain of the earlier one; that one names the position."""
    store, early, late = tmp_path / "runs.db", tmp_path / "early.seal", tmp_path / "late.seal"
    build(store)
    with RunTracker(store) as tracker:
        tracker.seal(early)
        tracker.create("later", run_id="later")
        tracker.start("later")
        tracker.seal(late, after=early)
        assert tracker.verify(seal=late).ok
    if tampering.position == 0:
        return  # the log before the seals was left alone
    alter(store, lambda raw: [raw.execute(statement) for statement in tampering.sql])
    with RunTracker(store) as tracker:
        (problem,) = (
            it for it in tracker.verify(seal=late).problems if it.kind is ProblemKind.SEAL
        )
    assert "as the earlier seal has them" in problem.what
    assert "earlier seal" in problem.remedy

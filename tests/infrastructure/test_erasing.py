"""Erasing what people wrote into a run: it is gone from the file, and the erasure is on record."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from faults.kit import FaultyStore, MovableClock
from lastword import (
    InvalidInput,
    InvalidTransition,
    OutcomeContradicted,
    RunNotFound,
    RunTracker,
    StoreUnavailable,
)
from lastword.domain.events import RunErased
from lastword.domain.status import RunStatus
from lastword.infrastructure.exchange.redacting import redacted
from lastword.infrastructure.sqlite import SQLiteStore
from lastword.projections.run_view import fold_view

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = "marmalade"
"""In everything that people write about run 17."""


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock(BEGIN)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def tracker(path: Path, clock: MovableClock) -> Iterator[RunTracker]:
    """Run 17 is full of secrets, between others that are not."""
    with RunTracker(path, clock=clock, progress_interval=0) as tracker:
        fill(tracker, range(3), "plain")
        fill(tracker, [17], SECRET)
        fill(tracker, range(20, 23), "plain")
        clock.advance(hours=1)
        yield tracker


def fill(tracker: RunTracker, run_ids: Any, word: str) -> None:
    for run_id in run_ids:
        tracker.create(
            "import",
            run_id=run_id,
            params={"folder": word * 2000},
            tags={"team": word},
            actor=word,
            correlation_id=word,
            exclusive=f"{word} {run_id}",
        )
        tracker.start(run_id)
        tracker.progress(run_id, 1, 2, step=word, message=word)
        tracker.request_cancel(run_id, reason=word, actor=word)
        tracker.fail(run_id, ValueError(word), with_traceback=True)
        tracker.complete(run_id, result=word)


def on_disk(path: Path) -> int:
    """How often the word is in the store's files."""
    files = [path, *(path.with_name(path.name + suffix) for suffix in ("-wal", "-journal"))]
    return sum(file.read_bytes().count(SECRET.encode()) for file in files if file.exists())


def test_what_people_wrote_is_gone(tracker: RunTracker, path: Path) -> None:
    """From answers, from the history, and from every byte of the store's files."""
    others = [tracker.get(run_id) for run_id in (*range(3), *range(20, 23))]
    before = tracker.get(17)
    assert on_disk(path) > 0
    report = tracker.erase(17, reason="asked for by letter", actor="ann")
    assert (17, 6, True, True) == (
        report.run_id,
        report.events,
        report.compacted,
        report.journal_cleared,
    )
    assert 0 == on_disk(path)
    view = tracker.get(17)
    assert ({"folder": "redacted"}, {"team": "redacted"}, "redacted", "redacted") == (
        view.params,
        view.tags,
        view.actor,
        view.error_message,
    )
    kept = (
        "run_id",
        "name",
        "status",
        "created_at",
        "finished_at",
        "progress_current",
        "contradicted",
    )
    assert [getattr(before, name) for name in kept] == [getattr(view, name) for name in kept]
    assert others == [tracker.get(other.run_id) for other in others]
    assert [17] == [found.run_id for found in tracker.list(tags={"team": "redacted"})]
    assert [] == [*tracker.list(tags={"team": SECRET})]


def test_the_erasure_is_on_record(tracker: RunTracker) -> None:
    """Who and why stay readable; so does the shape of the history."""
    before = tracker.history(17)
    tracker.erase(17, reason="asked for by letter", actor="ann")
    *events, record = tracker.history(17)
    assert [redacted(event) for event in before] == events
    assert isinstance(record.event, RunErased)
    assert ("asked for by letter", "ann", "ann", 7) == (
        record.event.reason,
        record.event.actor,
        record.actor,
        record.version,
    )
    assert fold_view([*events, record]) == tracker.get(17)


def test_counters_rows_and_seals_agree(tracker: RunTracker, tmp_path: Path) -> None:
    """A seal from before says that some positions are vouched for by what recorded the erasure."""
    counts = tracker.counts()
    early = tracker.seal(tmp_path / "early.seal").path
    tracker.erase(17)
    later = tracker.seal(tmp_path / "later.seal", early).path
    assert counts == tracker.counts()
    for seal, covered in ((early, 42), (later, 43)):
        report = tracker.verify(seal=seal)
        assert report.seal is not None
        assert (True, 6, covered) == (report.ok, report.seal.vouched, report.seal.events)


def test_a_changed_event_beside_it_is_found(tracker: RunTracker, tmp_path: Path) -> None:
    """The erasure vouches for what it changed, and for nothing else."""
    seal = tracker.seal(tmp_path / "a.seal").path
    tracker.erase(17)
    store = tracker.store
    assert isinstance(store, SQLiteStore)
    with store.recorder.datastore.transaction(commit=True) as cursor:
        cursor.execute(
            "UPDATE events SET actor = 'bob' WHERE originator_id = '2' AND topic = 'RunCreated'"
        )
    report = tracker.verify(seal=seal)
    assert (False, 13) == (report.ok, report.seal and report.seal.differs_at)


def test_erasing_again_is_harmless(tracker: RunTracker) -> None:
    """There is nothing left to erase, and nothing is recorded."""
    tracker.erase(17)
    version = tracker.get(17).version
    assert (0, version) == (tracker.erase(17).events, tracker.get(17).version)


def test_what_comes_later_can_be_erased_too(
    tracker: RunTracker, tmp_path: Path, path: Path
) -> None:
    """Another outcome that is reported after the erasure; seals from all moments hold."""
    seals = [tracker.seal(tmp_path / "0.seal").path]
    tracker.erase(17)
    seals.append(tracker.seal(tmp_path / "1.seal").path)
    tracker.cancel(17, reason=SECRET)
    seals.append(tracker.seal(tmp_path / "2.seal").path)
    assert isinstance(tracker.history(17)[-1].event, OutcomeContradicted)
    assert (1, 0) == (tracker.erase(17).events, on_disk(path))
    assert [True] * 3 == [tracker.verify(seal=seal).ok for seal in seals]
    assert (9, RunStatus.FAILED) == (tracker.get(17).version, tracker.get(17).status)


def test_an_erased_run_can_be_archived_and_brought_back(
    tracker: RunTracker, tmp_path: Path, clock: MovableClock
) -> None:
    """The first seal still holds, here; and what came back vouches for nothing in another store."""
    seal = tracker.seal(tmp_path / "a.seal").path
    tracker.erase(17)
    tracker.archive(clock.now, tmp_path / "old.jsonl")
    assert (True, 43) == ((report := tracker.verify(seal=seal)).ok, report.archived)
    tracker.import_events(tmp_path / "old.jsonl")
    assert tracker.verify(seal=seal).ok
    with RunTracker(tmp_path / "other.db") as other:
        other.import_events(tmp_path / "old.jsonl")
        report = other.verify(seal=other.seal(tmp_path / "other.seal").path)
        assert (True, 0) == (report.ok, report.seal and report.seal.vouched)
        assert 0 == other.erase(17).events


def test_an_old_export_does_not_bring_it_back(tracker: RunTracker) -> None:
    """What the file says is not what the store says any more."""
    lines = [*tracker.export([17])]
    tracker.erase(17)
    with pytest.raises(InvalidInput, match="nothing was imported"):
        tracker.import_events(lines)
    assert SECRET not in str(tracker.get(17))


def test_an_active_run_is_not_erased(tracker: RunTracker) -> None:
    """It would write on."""
    tracker.create("import", run_id=40)
    message = (
        "^run 40: cannot go from pending to erased; only a finished run can be erased: wait for"
    )
    with pytest.raises(InvalidTransition, match=message):
        tracker.erase(40)
    with pytest.raises(RunNotFound):
        tracker.erase(41)


def test_a_run_with_events_in_the_spool_is_not_erased(path: Path, clock: MovableClock) -> None:
    """They would bring back what was erased."""
    store = FaultyStore(SQLiteStore(path, clock=clock))
    with RunTracker(path, clock=clock, store=store, retry_attempts=1, heartbeat=3600) as tracker:  # type: ignore[arg-type]  # passes for a store
        with tracker.run("import", run_id=17):
            pass
        store.fail("append", times=2)
        tracker.fail(17, SECRET)
        with (
            RunTracker(path, clock=clock) as other,
            pytest.raises(InvalidInput, match="lastword deliver"),
        ):
            other.erase(17)


def test_somebody_who_reports_meanwhile_loses_nothing(path: Path, clock: MovableClock) -> None:
    """The erasure is planned again, with what came."""
    store = FaultyStore(SQLiteStore(path, clock=clock))
    with (
        RunTracker(path, clock=clock, store=store) as tracker,  # type: ignore[arg-type]  # passes for a store
        RunTracker(path, clock=clock) as other,
    ):
        fill(tracker, [17], "word")
        store.first("rewrite", lambda: other.cancel(17, reason=SECRET))
        assert 7 == tracker.erase(17).events
        assert ["OutcomeContradicted", "RunErased"] == [it.type for it in tracker.history(17)][-2:]
        assert "redacted" == tracker.history(17)[-2].event.detail  # type: ignore[attr-defined]  # that of a contradiction
        with pytest.raises(InvalidTransition):
            other.progress(17, 1)  # the other one notices that the history has grown
        assert tracker.verify().ok


def test_a_reader_of_an_earlier_state_keeps_the_journal(
    path: Path, clock: MovableClock, tracker: RunTracker
) -> None:
    """The report says so; erasing again clears it."""
    with RunTracker(path, clock=clock, retry_budget=0.05, retry_attempts=1) as impatient:
        with closing(sqlite3.connect(path)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM events").fetchone()
            assert not impatient.erase(17).journal_cleared
        assert on_disk(path) > 0
        assert (0, True) == ((report := impatient.erase(17)).events, report.journal_cleared)
    assert 0 == on_disk(path)


def test_a_fault_behind_the_erasure_is_made_good_by_erasing_again(
    path: Path, clock: MovableClock
) -> None:
    """The words are out of the answers by then; the second time clears the file."""
    store = FaultyStore(SQLiteStore(path, clock=clock))
    with RunTracker(path, clock=clock, store=store) as tracker:
        fill(tracker, [17], SECRET)
        store.fail("compact")
        with pytest.raises(StoreUnavailable):
            tracker.erase(17)
        assert SECRET not in str([tracker.get(17), *tracker.history(17)])
        assert on_disk(path) > 0
        assert (0, 0) == (tracker.erase(17).events, on_disk(path))


def test_without_writing_the_file_anew_the_answers_are_the_same(tracker: RunTracker) -> None:
    """Only unused parts of the file may still hold what was there."""
    report = tracker.erase(17, compact=False)
    assert (6, False, True) == (report.events, report.compacted, report.journal_cleared)
    assert SECRET not in str([tracker.get(17), *tracker.history(17)])
    assert tracker.verify().ok


def test_a_rebuild_changes_nothing(tracker: RunTracker) -> None:
    """The row is the fold of the events that are there now."""
    tracker.erase(17)
    view = tracker.get(17)
    tracker.rebuild()
    assert view == tracker.get(17)


def test_the_past_keeps_its_numbers(tracker: RunTracker) -> None:
    """What was true then is still true; only the words are gone."""
    before = tracker.status_at(BEGIN)
    tracker.erase(17)
    after = tracker.status_at(BEGIN)
    assert (before.counts, before.active) == (after.counts, after.active)
    then = tracker.as_of(17, BEGIN)
    assert then is not None
    assert ("redacted", RunStatus.FAILED) == (then.error_message, then.status)

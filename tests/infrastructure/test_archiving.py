"""Archives: finished runs go into a file, and nothing is lost on the way."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from archives import BEGIN, DAY, fill, filled, ids, records
from faults.kit import FaultyStore, MovableClock
from lastword import InvalidInput, RunNotFound, RunTracker
from lastword.domain.status import RunStatus
from lastword.infrastructure.auditing import archiving
from lastword.infrastructure.exchange.exporting import write_export
from lastword.infrastructure.sqlite import SQLiteStore


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock(BEGIN)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "old.jsonl"


@pytest.fixture
def tracker(path: Path, clock: MovableClock) -> Iterator[RunTracker]:
    """See `filled`."""
    with filled(path, clock) as tracker:
        yield tracker


def test_finished_runs_go_into_the_file_and_the_others_stay(
    tracker: RunTracker, file: Path
) -> None:
    """What the file holds is an export of these runs, and the counters are right."""
    before = [*tracker.export(range(6))]
    report = tracker.archive(BEGIN + DAY, file, actor="ann")
    assert (6, 24, 1, 0, False) == (
        report.runs,
        report.events,
        report.batches,
        report.left,
        report.resumed,
    )
    assert before == file.read_bytes().splitlines(keepends=True)
    assert {"active", "late"} == ids(tracker)
    assert (1, 1, 2) == (
        tracker.counts()[RunStatus.RUNNING],
        tracker.counts()[RunStatus.COMPLETED],
        sum(tracker.counts().values()),
    )
    with pytest.raises(RunNotFound):
        tracker.history(3)
    (record,) = records(tracker)
    assert (6, "old.jsonl", "ann", 24) == (
        record.runs,
        record.file,
        record.actor,
        len(record.leaves),
    )
    assert hashlib.sha256(file.read_bytes()).hexdigest() == record.fingerprint


def test_each_batch_has_its_record(
    tracker: RunTracker, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its fingerprint is that of the lines of its runs, which the positions tell."""
    monkeypatch.setattr(archiving, "BATCH_RUNS", 4)
    steps: list[tuple[int, int]] = []
    report = tracker.archive(BEGIN + DAY, file, lambda done, total: steps.append((done, total)))
    assert 2 == report.batches
    for record in records(tracker):
        places = {position for position, _ in record.leaves.pairs()}
        held = file.read_bytes().splitlines(keepends=True)
        own = b"".join(line for line in held if json.loads(line)["position"] in places)
        assert hashlib.sha256(own).hexdigest() == record.fingerprint
    assert [4, 2] == [record.runs for record in records(tracker)]
    assert (72, 72) == steps[-1]
    assert sorted(steps) == steps


def test_seals_from_before_and_after_still_verify(
    tracker: RunTracker, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The positions that are gone are vouched for, and the report says how many."""
    monkeypatch.setattr(archiving, "BATCH_RUNS", 2)
    early = tracker.seal(tmp_path / "early.seal")
    tracker.archive(BEGIN + DAY, file)
    later = tracker.seal(tmp_path / "later.seal")
    onward = tracker.seal(tmp_path / "onward.seal", early.path)
    assert later.end == onward.end
    for sealed, covered in ((early, 30), (later, 33), (onward, 33)):
        report = tracker.verify(seal=sealed.path)
        assert report.seal is not None
        assert (True, 24, 24, covered) == (
            report.ok,
            report.archived,
            report.seal.vouched,
            report.seal.events,
        )
    alone = tracker.verify()
    assert (True, 24, 2, 6) == (alone.ok, alone.archived, alone.runs, alone.events)


def test_runs_that_interleave_still_verify(
    tracker: RunTracker, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their positions lie between each other, in records of several archivings."""
    monkeypatch.setattr(archiving, "BATCH_RUNS", 1)
    for name in ("a", "b", "c"):
        tracker.create("import", run_id=name)
    for name in ("c", "a", "b"):
        tracker.start(name)
    for name in ("b", "c", "a"):
        tracker.complete(name)
    seal = tracker.seal(tmp_path / "a.seal").path
    for number, when in enumerate((BEGIN + DAY, BEGIN + 2 * DAY)):
        tracker.archive(when, file.with_suffix(f".{number}"))
    assert {"active"} == ids(tracker)
    assert (True, 37) == ((report := tracker.verify(seal=seal)).ok, report.archived)


def test_tampering_with_what_is_left_is_still_found(
    tracker: RunTracker, file: Path, tmp_path: Path, path: Path
) -> None:
    """Only what is gone is vouched for."""
    seal = tracker.seal(tmp_path / "a.seal").path
    tracker.archive(BEGIN + DAY, file)
    store = tracker.store
    assert isinstance(store, SQLiteStore)
    with store.recorder.datastore.transaction(commit=True) as cursor:
        cursor.execute("UPDATE events SET actor = 'nobody' WHERE originator_id = 'active'")
    report = tracker.verify(seal=seal)
    assert (False, 25) == (report.ok, report.seal and report.seal.differs_at)


def test_a_damaged_record_is_told(tracker: RunTracker, file: Path) -> None:
    """Verification says so, and goes on."""
    tracker.archive(BEGIN + DAY, file)
    store = tracker.store
    assert isinstance(store, SQLiteStore)
    with store.recorder.datastore.transaction(commit=True) as cursor:
        cursor.execute(
            "UPDATE events SET state = replace(state, '\"positions\":[[1', '\"positions\":[[2')"
        )
    (found,) = tracker.verify().problems
    assert ("undecodable", "archive: leaves: expected 23 leaves") == (found.kind, found.what[:35])


def test_an_import_brings_them_back(
    tracker: RunTracker, file: Path, tmp_path: Path, path: Path
) -> None:
    """Into the same store at new positions, and into an empty one as they were."""
    views = {run_id: tracker.get(run_id) for run_id in range(6)}
    seal = tracker.seal(tmp_path / "a.seal").path
    tracker.archive(BEGIN + DAY, file)
    report = tracker.import_events(file)
    assert (6, 24) == (report.new_runs, report.added)
    for run_id, view in views.items():
        again = tracker.get(run_id)
        assert view == again.model_copy(update={"position": view.position})
        assert again.position > view.position
    assert tracker.verify(seal=seal).ok
    with RunTracker(tmp_path / "empty.db") as empty:
        empty.import_events(file)
        assert views == {run_id: empty.get(run_id) for run_id in range(6)}


def test_a_dry_run_changes_nothing(tracker: RunTracker, file: Path) -> None:
    """It says what would go."""
    newest = tracker.store.last_position()
    report = tracker.archive(BEGIN + DAY, file, dry_run=True)
    assert (6, False, newest) == (report.runs, file.exists(), tracker.store.last_position())


def test_nothing_to_archive_makes_no_file(tracker: RunTracker, file: Path) -> None:
    """An empty file would be no archive."""
    assert (0, False) == (tracker.archive(BEGIN, file).runs, file.exists())


def test_a_finished_archive_is_not_added_to(tracker: RunTracker, file: Path) -> None:
    """What ended since needs another file; a repeat changes nothing."""
    tracker.archive(BEGIN + DAY, file)
    content = file.read_bytes()
    report = tracker.archive(BEGIN + 2 * DAY, file)
    assert (0, 1, True, content) == (report.runs, report.left, report.resumed, file.read_bytes())
    assert {"active", "late"} == ids(tracker)


def test_runs_with_events_in_the_spool_stay(path: Path, clock: MovableClock, file: Path) -> None:
    """What waits there belongs behind what is in the store."""
    store = FaultyStore(SQLiteStore(path, clock=clock))
    with RunTracker(path, clock=clock, store=store, retry_attempts=1, heartbeat=3600) as tracker:  # type: ignore[arg-type]  # passes for a store
        fill(tracker, [1, 2])
        store.fail("append", times=2)
        tracker.fail(2, "it failed after all")
        assert 1 == tracker.spool_status().events
        clock.advance(days=1)
        with RunTracker(path, clock=clock) as other:
            report = other.archive(clock.now, file)
            assert (1, 1, {2}) == (report.runs, report.left, ids(other))
        report = tracker.archive(clock.now, file.with_suffix(".own"))
        assert (0, 1) == (report.runs, report.left)


def test_a_process_that_knew_a_run_reads_it_again(
    tracker: RunTracker, file: Path, path: Path, clock: MovableClock
) -> None:
    """Nothing is put behind a history that is gone."""
    with RunTracker(path, clock=clock) as other:
        other.archive(BEGIN + DAY, file)
    with pytest.raises(RunNotFound):
        tracker.fail(3, "too late")
    assert tracker.verify().ok


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda text: text.replace(b'"half"', b'"hall"', 1),
            "line 3: expected version 3 of run 0 as",
        ),
        (lambda text: text[: text.rindex(b"\n", 0, -1) - 9], "the file is truncated"),
        (lambda text: b"", "found an empty file"),
        (lambda text: b"hello\n", "line 1: expected JSON"),
        (
            lambda text: text.replace(b"urn:uuid:", b"urn:uuid:0"),
            "line 1, field source: expected urn",
        ),
        (
            lambda text: b"".join(reversed(text.splitlines(keepends=True))),
            "line 1: expected version 1",
        ),
    ],
)
def test_a_file_that_is_no_archive_of_these_runs_is_refused(
    tracker: RunTracker,
    file: Path,
    change: Callable[[bytes], bytes],
    message: str,
) -> None:
    """Whatever happened to it since: what it does not hold is not removed."""
    file.write_bytes(change(b"".join(tracker.export(range(6)))))
    with pytest.raises(InvalidInput, match=message):
        tracker.archive(BEGIN + DAY, file)
    assert 8 == len(ids(tracker))
    assert [] == records(tracker)


def test_a_file_that_changes_while_it_is_written_removes_nothing(
    tracker: RunTracker, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that loses a write is noticed when the file is read back."""

    def lossy(path: Path, lines: Iterator[bytes]) -> int:
        return write_export(path, [line for line in lines if b'"runversion":3' not in line])

    monkeypatch.setattr(archiving, "write_export", lossy)
    with pytest.raises(InvalidInput, match="line 3: expected version 3 of run 0"):
        tracker.archive(BEGIN + DAY, file)
    assert 8 == len(ids(tracker))


def test_the_stores_own_file_is_refused(tracker: RunTracker, path: Path) -> None:
    """Opening it as a file would drop SQLite's locks."""
    with pytest.raises(InvalidInput, match="found the store itself"):
        tracker.archive(BEGIN + DAY, path)


def test_a_naive_time_is_refused(tracker: RunTracker, file: Path) -> None:
    """It could be any moment of a day."""
    with pytest.raises(InvalidInput, match="before: expected an aware datetime"):
        tracker.archive(datetime(2026, 1, 2), file)  # noqa: DTZ001  # that is the point

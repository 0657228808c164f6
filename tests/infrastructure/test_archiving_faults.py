"""Archiving while others write, and when it is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from archives import BEGIN, DAY, fill, filled, ids, records
from commandline import environment
from faults.kit import FaultyStore, MovableClock, wait_until
from lastword import InvalidInput, RunTracker, StoreUnavailable
from lastword.infrastructure.auditing import archiving
from lastword.infrastructure.exchange.lines import line_of
from lastword.infrastructure.exchange.openlineage_emitter import OpenLineageEmitter
from lastword.infrastructure.sqlite import SQLiteStore
from lineage import Recording


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


def test_writers_go_on_meanwhile(
    tracker: RunTracker, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two batches others have their turn; a run that ends meanwhile stays."""
    monkeypatch.setattr(archiving, "BATCH_RUNS", 1)
    store = FaultyStore(tracker.store)
    tracker._store = store  # type: ignore[assignment]  # passes for a store
    begun, stop = threading.Event(), threading.Event()
    written: list[int] = []

    def write() -> None:
        while not stop.is_set():
            fill(tracker, [f"new-{len(written)}"])
            written.append(1)
            begun.set()

    def between() -> None:
        done = len(written)
        wait_until(lambda: len(written) > done)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert begun.wait(10)
        for _ in range(6):
            store.first("remove_runs", between)
        assert 6 == tracker.archive(BEGIN + DAY, file).runs
    finally:
        stop.set()
        thread.join(10)
    assert len(written) + 2 == sum(tracker.counts().values())
    assert tracker.verify().ok


def test_a_rebuild_meanwhile_leaves_no_rows_behind(
    tracker: RunTracker, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that were folded before their runs were archived do not come back."""
    tracker.rebuild(lambda done, total: file.exists() or tracker.archive(BEGIN + DAY, file))  # type: ignore[func-returns-value]  # in its first step
    assert {"active", "late"} == ids(tracker)
    assert (True, 2) == ((report := tracker.verify()).ok, report.runs)


def test_an_import_meanwhile_is_refused(tracker: RunTracker, file: Path) -> None:
    """What it found in the store is not there any more; a second try finds that out."""
    with RunTracker("sqlite:///:memory:") as other:
        other.create("import", run_id="new")
        whole = [*tracker.export(), *other.export()]
    store = tracker.store
    assert isinstance(store, SQLiteStore)
    datastore = store.recorder.datastore
    real = datastore.transaction

    def archive_first(**options: Any) -> Any:
        if options.get("link") is not None:
            datastore.transaction = real  # type: ignore[method-assign]  # once
            tracker.archive(BEGIN + DAY, file)
        return real(**options)

    datastore.transaction = archive_first  # type: ignore[method-assign]  # the moment before it begins to write
    with pytest.raises(
        StoreUnavailable, match="archived meanwhile; nothing was imported: import again"
    ):
        tracker.import_events(whole)
    assert {"active", "late"} == ids(tracker)
    assert 7 == tracker.import_events(whole).new_runs
    assert tracker.verify().ok


def test_who_follows_the_log_passes_the_records_over(
    tracker: RunTracker, file: Path, tmp_path: Path
) -> None:
    """Feeds, exports and live tables tell of runs only; a record is no event of a run."""
    tracker.archive(BEGIN + DAY, file)
    newest = tracker.store.last_position()
    (record,) = tracker.store.read(newest - 1, 10)
    assert record.is_of_store
    assert ["late"] == [signal["run_id"] for _, signal in tracker.completions()]
    assert 6 == len([*tracker.export()])
    line = line_of(record.model_copy(update={"run_id": "x"}), "urn:uuid:x")
    with pytest.raises(
        InvalidInput, match="field type: expected an event of a run, found RunsArch"
    ):
        tracker.import_events([line])
    with ThreadPoolExecutor(1) as pool:
        following = tracker.follow(newest - 1)
        heard = pool.submit(next, following)
        fill(tracker, ["next"])
        assert "next" == heard.result(10)[1]["run_id"]


def test_an_emitter_passes_the_records_over(
    tracker: RunTracker, file: Path, tmp_path: Path
) -> None:
    """It goes on behind them, and its cursor with it."""
    tracker.archive(BEGIN + DAY, file)
    client, newest = Recording(), tracker.store.last_position()
    emitter = OpenLineageEmitter(tracker, client, tmp_path / "cursor")
    emitter.run(until=newest)
    assert newest == emitter.position
    assert 6 == len(client.events)


CHILD = """
import os, signal, sys
from datetime import datetime
from lastword import RunTracker
from lastword.infrastructure.auditing import archiving

path, file, point, before = sys.argv[1:]
archiving.BATCH_RUNS = 2
seen = 0

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def dying_at(number, real):
    def call(*arguments, **options):
        global seen
        seen += 1
        if seen == number:
            die()
        return real(*arguments, **options)
    return call

with RunTracker(path) as tracker:
    store = tracker.store
    if point == "while it is written":
        archiving.line_of = dying_at(9, archiving.line_of)
    elif point == "once it is written":
        archiving.Archiving._verify = die
    elif point == "before it removes":
        store.remove_runs = die
    elif point == "inside the first batch":
        archiving.Archiving._record = die
    elif point == "inside the second batch":
        archiving.Archiving._record = dying_at(2, archiving.Archiving._record)
    elif point == "between two batches":
        store.remove_runs = dying_at(2, store.remove_runs)
    tracker.archive(datetime.fromisoformat(before), file)
"""


@pytest.mark.parametrize(
    ("point", "left"),
    [
        ("while it is written", 8),
        ("once it is written", 8),
        ("before it removes", 8),
        ("inside the first batch", 8),
        ("inside the second batch", 6),
        ("between two batches", 6),
    ],
)
def test_a_killed_archiving_is_gone_on_with(
    tracker: RunTracker, path: Path, file: Path, tmp_path: Path, point: str, left: int
) -> None:
    """SIGKILL at any step loses nothing and doubles nothing; the same command again does the rest."""
    seal = tracker.seal(tmp_path / "a.seal").path
    whole = [*tracker.export(range(6))]
    when = (BEGIN + DAY).isoformat()
    ended = subprocess.run(
        [sys.executable, "-c", CHILD, str(path), str(file), point, when],
        env=environment(path),
        timeout=60,
        check=False,
    )
    assert -signal.SIGKILL == ended.returncode
    assert left == len(ids(tracker))
    assert tracker.verify(seal=seal).ok
    resumed = point != "while it is written"
    report = tracker.archive(BEGIN + DAY, file)
    assert (left - 2, resumed) == (report.runs, report.resumed)
    assert {"active", "late"} == ids(tracker)
    assert whole == file.read_bytes().splitlines(keepends=True)
    assert 24 == sum(len(record.leaves) for record in records(tracker))
    assert tracker.verify(seal=seal).ok

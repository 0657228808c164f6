"""Rebuilding while others work, and rebuilding at open when the fold has changed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from contracts.kit import Writer
from lastword.domain.errors import StoreUnavailable
from lastword.domain.events import RunCompleted, RunProgressed
from lastword.domain.status import RunStatus
from lastword.infrastructure.sqlite import SQLiteStore, rebuilding
from lastword.infrastructure.sqlite.rebuilding import STALE_SECONDS, Rebuild
from lastword.projections.ports import RunStore
from lastword.projections.queries import RunQuery
from lastword.projections.run_view import PROJECTION_VERSION, fold_view


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    with contextlib.closing(SQLiteStore(path)) as store:
        yield store


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuilding, "BATCH_EVENTS", 7)


def agree(store: RunStore) -> bool:
    """Whether every row is the fold of its events, and tags and counters say the same."""
    scanned = list(store.scan())
    rows = [run.row for run in scanned]
    counted = {status: sum(row.status == status for row in rows if row) for status in RunStatus}
    tagged = {view.run_id for view in store.query(RunQuery(tags={"k": "v"}, limit=1000))}
    return (
        all(run.row == fold_view(run.events) for run in scanned)
        and store.counts() == counted
        and tagged == {row.run_id for row in rows if row and row.tags}
    )


def fill(store: RunStore, runs: int = 20) -> Writer:
    writer = Writer(store)
    for number in range(runs):
        writer.start(number, tags={"k": "v"} if number % 2 else {})
        writer.add(number, *(RunProgressed(current=step) for step in range(1 + number % 4)))
    return writer


def tables(store: SQLiteStore) -> set[str]:
    """The names of all tables and indexes but SQLite's own."""
    found = store.recorder.datastore.fetch(
        "SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite%' AND type = 'table'"
    )
    return {name for (name,) in found}


def test_runs_that_change_meanwhile_are_caught_up(store: SQLiteStore):
    """Those already folded, those yet to come, and new ones: all are right in the end, and nobody waits for the end."""
    writer = fill(store)
    done: list[int] = []

    def interfere(events: int, total: int) -> None:
        step = len(done)
        writer.add(step, RunProgressed(current=100))
        writer.add(19 - step, RunProgressed(current=100))
        writer.start(f"new-{step}", tags={"k": "v"})
        done.append(events)

    before = tables(store)
    store.rebuild(interfere)
    assert len(done) >= 5
    assert agree(store)
    assert tables(store) == before
    writer.add(0, RunCompleted())
    assert agree(store)


def test_one_rebuild_at_a_time(store: SQLiteStore, path: Path):
    """A second one is told to wait for the end of the first, and does no harm."""
    fill(store)
    refusals: list[str] = []

    def again(events: int, total: int) -> None:
        with contextlib.closing(SQLiteStore(path)) as other:
            try:
                other.rebuild()
            except StoreUnavailable as error:
                refusals.append(str(error))

    assert store.rebuild(again) == 20
    assert refusals
    assert all("another rebuild at work" in refusal for refusal in refusals)
    assert agree(store)


def test_a_rebuild_that_died_is_cleared_away(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch):
    """Its tables are dropped by the next one once it gave no sign for a while; if it still lives, it stops."""
    fill(store)
    before = tables(store)

    class PowerCutError(Exception):
        pass

    def cut(events: int, total: int) -> None:
        raise PowerCutError

    with pytest.raises(PowerCutError):
        store.rebuild(cut)
    assert len(tables(store)) == len(before) + 3
    with pytest.raises(StoreUnavailable):
        store.rebuild()
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now + (STALE_SECONDS + 1) * 10**9)
    assert store.rebuild() == 20
    assert tables(store) == before
    assert agree(store)


def test_a_rebuild_that_was_taken_over_stops(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch):
    """It was slow, another one took it for dead: the other one's rows stay."""
    fill(store)
    now = time.time_ns()

    def freeze(events: int, total: int) -> None:
        monkeypatch.setattr(time, "time_ns", lambda: now + (STALE_SECONDS + 1) * 10**9)
        if events < total / 2:
            Rebuild(store.recorder.datastore).run()

    with pytest.raises(StoreUnavailable, match="took over"):
        store.rebuild(freeze)
    assert agree(store)


def test_rows_of_another_fold_are_computed_anew_at_open(path: Path):
    """The stored number differs: opening rebuilds, says so in the log, and the next opening has nothing to do."""
    with contextlib.closing(SQLiteStore(path)) as store:
        fill(store)
        fetch = store.recorder.datastore.fetch
        fetch("UPDATE meta SET value = ? WHERE key = 'projection'", (PROJECTION_VERSION - 1,))
        fetch("UPDATE runs SET name = 'as an older fold had it'")
    with structlog.testing.capture_logs() as logs:
        with contextlib.closing(SQLiteStore(path)) as store:
            assert agree(store)
            assert {view.name for view in store.active()} == {"import"}
        SQLiteStore(path).close()
    rebuilt = [entry for entry in logs if entry["event"] == "lastword.store.rebuilt"]
    assert [(entry["rows"], entry["found"], entry["expected"]) for entry in rebuilt] == [
        (20, PROJECTION_VERSION - 1, PROJECTION_VERSION)
    ]


def test_opening_waits_for_a_rebuild_of_another_process(
    path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Two that open an outdated store at once: one rebuilds, the other waits and finds it done."""
    with contextlib.closing(SQLiteStore(path)) as store:
        fill(store)
        store.recorder.datastore.fetch("UPDATE meta SET value = 0 WHERE key = 'projection'")
        first = Rebuild(store.recorder.datastore)
        waited: list[float] = []

        def finish(seconds: float) -> None:
            waited.append(seconds)
            monkeypatch.setattr(time, "time_ns", lambda: now + (STALE_SECONDS + 1) * 10**9)

        now = time.time_ns()
        first._begin()
        monkeypatch.setattr(time, "sleep", finish)
        with contextlib.closing(SQLiteStore(path)) as second:
            assert waited
            assert agree(second)


def test_a_store_on_a_network_file_system_is_warned_about(
    path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its locks cannot be relied on; the log says which file system it is."""
    mounted = path.parent / "mounts"
    mounted.write_text(f"/dev/sda1 / ext4 rw 0 0\nfiles:/x {path.parent} nfs4 rw 0 0\n")
    monkeypatch.setattr("lastword.infrastructure.sqlite.network.MOUNTS", mounted)
    with structlog.testing.capture_logs() as logs:
        SQLiteStore(path).close()
    assert [(entry["event"], entry["filesystem"], entry["log_level"]) for entry in logs] == [
        ("lastword.store.network_filesystem", "nfs4", "warning")
    ]
    mounted.unlink()
    with structlog.testing.capture_logs() as logs:
        SQLiteStore(path).close()
    assert logs == []


def test_folding_everything_again_leaves_the_log_alone(store: SQLiteStore):
    """A rebuild writes rows, never events."""
    fill(store)
    before = store.read(0, 1000)
    store.rebuild()
    assert store.read(0, 1000) == before
    assert store.wait(before[-1].position, 0) is False

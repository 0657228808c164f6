"""Imports into a SQLite file: what others do meanwhile, and what is left behind."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.importing import HISTORY, LIFE, held, history, placed, sound
from contracts.kit import seen
from lastword.domain.errors import InvalidInput
from lastword.domain.events import RunCreated
from lastword.infrastructure.sqlite import SQLiteStore, importing
from lastword.infrastructure.storing.importing import Staged
from lastword.projections.importing import ImportReport, Placed
from lastword.testing import START


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    with contextlib.closing(SQLiteStore(tmp_path / "runs.db", clock=lambda: START)) as store:
        yield store


def test_writers_go_on_while_a_file_is_read(store: SQLiteStore) -> None:
    """Also another import; what it brought is not brought again."""

    def slow() -> Iterator[Placed]:
        yield from placed(*HISTORY)
        assert 3 == store.import_runs(placed(*HISTORY)).added

    assert ImportReport(events=3, runs=1) == store.import_runs(slow())
    assert sound(store)


@pytest.mark.parametrize("same", [True, False])
def test_what_others_write_at_the_last_moment_is_seen(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch, same: bool
) -> None:
    """Between the comparison and the lock: it is compared again, with what is new."""
    compare_all = importing.compare_all
    others = HISTORY[:1] if same else history(RunCreated(name="another"), *LIFE[1:])

    def compare(raw: sqlite3.Connection, staged: Staged) -> int | None:
        newest = compare_all(raw, staged)
        monkeypatch.undo()
        store.import_runs(placed(*history(RunCreated(name="n"), run_id="late", first=30), *others))
        return newest

    store.import_runs(placed(*history(RunCreated(name="n"), run_id="early", first=20)))
    monkeypatch.setattr(importing, "compare_all", compare)
    if same:
        assert (2, 1) == (store.import_runs(placed(*HISTORY)).added, len(store.read_run("late")))
    else:
        with pytest.raises(InvalidInput, match=r"line 1, field data: .* as the store has it"):
            store.import_runs(placed(*HISTORY))
    assert sound(store)


def test_an_event_that_others_write_elsewhere_at_the_last_moment_is_seen(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its id may be that of another run's event."""
    compare_all = importing.compare_all

    def compare(raw: sqlite3.Connection, staged: Staged) -> int | None:
        newest = compare_all(raw, staged)
        monkeypatch.undo()
        copy = [event.model_copy(update={"run_id": "copy"}) for event in HISTORY]
        store.import_runs(placed(*copy))
        return newest

    store.import_runs(placed(*history(RunCreated(name="n"), run_id="early", first=20)))
    monkeypatch.setattr(importing, "compare_all", compare)
    with pytest.raises(InvalidInput, match=r"field id: .* found that of run copy, version 1"):
        store.import_runs(placed(*HISTORY))
    assert ["early", "copy", "copy", "copy"] == [event.run_id for event in held(store)]


def test_a_repeat_waits_for_nobody(store: SQLiteStore, tmp_path: Path) -> None:
    """There is nothing to write, so it keeps no writer waiting either."""
    store.import_runs(placed(*HISTORY))
    with contextlib.closing(sqlite3.connect(tmp_path / "runs.db", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert 0 == store.import_runs(placed(*HISTORY)).added


def test_nothing_is_left_behind(store: SQLiteStore, tmp_path: Path) -> None:
    """No table in the store, no file beside it, no open connection; also when it was refused."""
    store.import_runs(placed(*HISTORY))
    tables = store.recorder.datastore.fetch("SELECT count(*) FROM sqlite_master")
    files, connections = sorted(tmp_path.iterdir()), store.recorder.datastore.connections
    store.import_runs(placed(*history(RunCreated(name="n"), run_id="b", first=30)))
    with pytest.raises(InvalidInput):
        store.import_runs(placed(HISTORY[1]))
    assert tables == store.recorder.datastore.fetch("SELECT count(*) FROM sqlite_master")
    assert files == sorted(tmp_path.iterdir())
    assert connections == store.recorder.datastore.connections


def test_an_owner_that_is_known_is_not_doubled(store: SQLiteStore) -> None:
    """Runs of one process share its row."""
    store.import_runs(placed(*HISTORY))
    store.import_runs(placed(*history(*(event.event for event in HISTORY), run_id="b", first=30)))
    assert [(1,)] == store.recorder.datastore.fetch("SELECT count(*) FROM owners")
    assert seen(store.view("a")).owner == seen(store.view("b")).owner

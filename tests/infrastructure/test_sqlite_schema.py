"""Files of earlier versions of the schema, and rows that are found without an index of their keys."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from contracts.kit import Writer
from lastword.domain.errors import StoreCorrupt
from lastword.domain.events import RunCancelled, RunCompleted, RunCreated, RunStarted
from lastword.domain.status import RunStatus
from lastword.infrastructure.sqlite import SQLiteStore
from lastword.infrastructure.sqlite.schema import SCHEMA_VERSION, STEPS
from lastword.projections.ports import RunStore, SoundRuns
from lastword.projections.queries import RunQuery
from lastword.projections.run_view import fold_view
from lastword.projections.verifying import problems_of
from lastword.testing import OWNER, START

STORES = Path(__file__).parents[1] / "histories" / "stores"
"""Files as ``sqlite3 FILE .dump`` writes them, with the two numbers of their heads; one for each version of the schema before today's."""
TOKEN = "0123456789ab"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    with contextlib.closing(SQLiteStore(path)) as store:
        yield store


def restore(path: Path, text: str) -> None:
    """The file that was dumped."""
    with contextlib.closing(sqlite3.connect(path)) as raw:
        raw.executescript(text)


def objects(path: Path) -> set[tuple[str, str]]:
    """Kind and statement of every table, index and trigger, without what a rebuild leaves in names."""
    with contextlib.closing(sqlite3.connect(path)) as raw:
        found = raw.execute("SELECT type, sql FROM sqlite_master WHERE sql IS NOT NULL")
        return {
            (kind, " ".join(sql.replace(f"_{TOKEN}", "").replace('"', "").split()))
            for kind, sql in found
        }


def sound(store: RunStore) -> tuple[int, int]:
    """Runs and events, if nothing is wrong with any of them."""
    found = list(store.check())
    assert [] == [one for one in found if not isinstance(one, SoundRuns)]
    assert [] == store.inspect(START + timedelta(hours=1))
    counted = [one for one in found if isinstance(one, SoundRuns)]
    return sum(one.runs for one in counted), sum(one.events for one in counted)


def wrong(store: RunStore) -> list[str]:
    """What a verification says of runs, in its order."""
    found = [run for run in store.check() if not isinstance(run, SoundRuns)]
    assert [run for run in store.scan() if list(problems_of(run))] == found
    return [f"{problem.run_id}: {problem.what}" for run in found for problem in problems_of(run)]


# -- files of earlier versions


def test_there_is_a_file_of_every_earlier_version():
    """A new step comes with a file of the version that it leads away from."""
    assert len(STEPS) == SCHEMA_VERSION
    expected = {f"sqlite-{version}.sql" for version in range(1, SCHEMA_VERSION)}
    assert expected == {path.name for path in STORES.iterdir()}


@pytest.mark.parametrize("rebuilt", [False, True])
@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_a_file_of_an_earlier_version_becomes_one_of_today(
    path: Path, tmp_path: Path, version: int, rebuilt: bool
):
    """With what is in it, and the tables and indexes of a new file; also where a rebuild has left its indexes under other names."""
    text = (STORES / f"sqlite-{version}.sql").read_text(encoding="utf-8")
    if rebuilt:
        for name in ("runs_by_key", "runs_by_status", "runs_by_name", "runs_exclusive"):
            text = text.replace(f"INDEX {name} ON", f"INDEX {name}_{TOKEN} ON")
    restore(path, text)
    SQLiteStore(tmp_path / "new.db").close()
    with contextlib.closing(SQLiteStore(path)) as store:
        assert objects(path) == objects(tmp_path / "new.db")
        assert (4, 10) == sound(store)
        for run_id in ("0197f3a2-7b1c-7000-8000-0123456789ab", 17, "ended", "failed"):
            assert store.view(run_id) is not None
            assert [run_id] == store.find(str(run_id)[:2])
        writer = Writer(store)
        for run in store.scan():
            if run.row is not None:
                writer.views[str(run.run_id)] = run.row
        writer.add(17, RunStarted(owner=OWNER), RunCompleted())
        assert {RunStatus.RUNNING: 1, RunStatus.COMPLETED: 2, RunStatus.CANCELLED: 1} == {
            status: number for status, number in store.counts().items() if number
        }
        assert (4, 12) == sound(store)
        assert 4 == store.rebuild()
        assert (4, 12) == sound(store)
    with contextlib.closing(sqlite3.connect(path)) as raw:
        assert (SCHEMA_VERSION,) == raw.execute("PRAGMA user_version").fetchone()


# -- rows that are not in their place


def test_two_rows_of_one_run_are_told_and_put_right(store: SQLiteStore):
    """No index of keys refuses the second one; a verification finds it, wherever it stands, and a rebuild leaves the right one."""
    writer = Writer(store)
    for run_id in ("a", "b", "c"):
        writer.start(run_id, tags={"team": "data"})
    right = store.view("b")
    fetch = store.recorder.datastore.fetch
    columns = ", ".join(
        row[1] for row in fetch("PRAGMA table_info(runs)") if row[1] not in {"number", "name"}
    )
    for number in (-7, 99):
        fetch(
            f"INSERT INTO runs (number, name, {columns})"
            f" SELECT {number}, 'second', {columns} FROM runs WHERE number = 3"
        )
    assert right == store.view("b")
    rows = [(run.run_id, len(run.events), run.row and run.row.name) for run in store.scan()]
    assert [("a", 2, "import"), ("b", 2, "import"), ("b", 0, "second"), ("b", 0, "second"), ("c", 2, "import")] == rows  # fmt: skip
    told = wrong(store)
    assert 2 == len(told)
    assert all(line.startswith("b: row: expected events behind it, found none") for line in told)
    assert 3 == store.rebuild()
    assert (3, 6) == sound(store)
    assert right == store.view("b")


def test_a_run_that_is_created_where_a_row_was_left_gets_its_own(store: SQLiteStore):
    """Its events were taken away behind our back. The new run is right at once; the row that is left is told."""
    writer = Writer(store)
    writer.start("a")
    writer.start("b")
    store.recorder.datastore.fetch("DELETE FROM events WHERE originator_id = 'a'")
    assert store.view("a") is None
    Writer(store).start("a")
    assert store.view("a") == fold_view(store.read_run("a"))
    (told,) = wrong(store)
    assert told.startswith("a: row: expected events behind it, found none")
    assert 2 == store.rebuild()
    assert (2, 4) == sound(store)


def test_a_row_in_the_place_of_a_new_run_is_refused(store: SQLiteStore):
    """The newest events were taken away, and their positions are given out again: the error says what to do."""
    writer = Writer(store)
    writer.start("a")
    writer.start("b")
    store.recorder.datastore.fetch("DELETE FROM events WHERE originator_id = 'b'")
    with pytest.raises(StoreCorrupt, match=r"run c: expected no row .*lastword rebuild"):
        writer.start("c")
    assert [] == store.read_run("c")
    assert 1 == store.rebuild()
    Writer(store).start("c")
    assert (2, 4) == sound(store)


def test_rows_that_changed_places_are_told(store: SQLiteStore):
    """Each is compared with the events of the run that it says it is."""
    writer = Writer(store)
    for name in ("a", "b"):
        writer.add(name, RunCreated(name=f"name of {name}"))
    for statement in (
        "UPDATE runs SET number = 99 WHERE number = 1",
        "UPDATE runs SET number = 1 WHERE number = 2",
        "UPDATE runs SET number = 2 WHERE number = 99",
    ):
        store.recorder.datastore.fetch(statement)
    told = wrong(store)
    assert ["a", "b"] == [line[0] for line in told]
    assert all("row: number: expected" in line for line in told)
    store.rebuild()
    assert (2, 2) == sound(store)
    assert ["name of b", "name of a"] == [view.name for view in store.query(RunQuery())]


def test_events_that_came_through_the_library_have_no_row(store: SQLiteStore):
    """They are told as such, not found by their id, and in nobody's way."""
    writer = Writer(store)
    writer.start("abc")
    fetch = store.recorder.datastore.fetch
    fetch(
        "INSERT INTO events (originator_id, originator_version, topic, state) VALUES ('abd', 1, 'RunCreated', '{}')"
    )
    writer.add("abc", RunCancelled())
    assert ["abc"] == store.find("ab")
    assert store.view("abd") is None
    assert ["abd"] == sorted({line.split(":")[0] for line in wrong(store)})

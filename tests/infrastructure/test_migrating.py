"""A whole store into another one: the same answers, after a crash too, and clear words where it cannot be."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from archives import BEGIN, DAY, filled
from commandline import PATIENCE, environment, json_lines, lastword
from faults.kit import MovableClock
from lastword import InvalidInput, RunTracker, StoreCorrupt, StoreUnavailable, migrate
from lastword.infrastructure.liveness.owners import this_owner
from lastword.infrastructure.opening import open_store
from lastword.infrastructure.sqlite import SQLiteStore
from lastword.projections.importing import Placed
from postgres_server import schema_of

KILLED_AT = """
import os, signal, sys
from lastword import migrate

def tell(step, done, total):
    if step == sys.argv[3] and done >= int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)

migrate(sys.argv[1], sys.argv[2], tell)
"""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Runs that ended, one that goes on, one that was erased, and the record of those that were archived."""
    clock = MovableClock(BEGIN)
    with filled(tmp_path / "runs.db", clock) as tracker:
        tracker.archive(BEGIN + DAY / 2, tmp_path / "archive.jsonl")
        tracker.erase("late")
        tracker.seal(tmp_path / "before.seal")
    return tmp_path / "runs.db"


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of more than one batch."""
    path = tmp_path_factory.mktemp("large") / "runs.db"
    with closing(SQLiteStore(path)) as store, RunTracker("sqlite:///:memory:") as memory:
        for number in range(400):
            memory.start(memory.create("import", run_id=number))
            memory.complete(number, result=number)
        store.import_runs(Placed("memory", event) for event in memory.store.read(0, 2000))
    return path


def log_of(url: Path | str) -> list[object]:
    with closing(open_store(url)) as store:
        return [tuple(row) for batch in store.log() for row in batch]


@pytest.fixture(params=["sqlite", "postgres"])
def copy(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a destination that is not there yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/copy.db"
    return request.getfixturevalue("postgres_url")


def test_a_copy_gives_the_same_answers(store: Path, copy: str, tmp_path: Path) -> None:
    """Views, histories, the past and seals: what was archived or erased stays vouched for."""
    report = migrate(store, copy)
    assert (True, True, report.events) == (report.ok, report.settled, report.copied)
    with RunTracker(store) as old, RunTracker(copy) as new:
        assert old.list() == new.list()
        for view in old.list():
            assert old.history(view.run_id) == new.history(view.run_id)
        assert old.status_at(BEGIN + DAY) == new.status_at(BEGIN + DAY)
        assert new.verify(seal=tmp_path / "before.seal").ok
        assert old.seal(tmp_path / "old.seal").end == new.seal(tmp_path / "new.seal").end
    assert log_of(store) == log_of(copy)


def test_there_and_back_again(store: Path, postgres_url: str, tmp_path: Path) -> None:
    """From a file to a server, on with the work there, and back: the old file is brought up to date."""
    migrate(store, postgres_url)
    with RunTracker(postgres_url) as tracker, tracker.run("import", run_id="on the server"):
        pass
    report = migrate(postgres_url, store)
    assert (3, True) == (report.copied, report.ok)
    assert log_of(postgres_url) == log_of(store)
    with RunTracker(store) as tracker:
        assert "completed" == tracker.get("on the server").status
        assert tracker.verify(seal=tmp_path / "before.seal").ok


def test_from_server_to_server(store: Path, postgres_server: str, postgres_url: str) -> None:
    """Two schemas are two stores."""
    migrate(store, postgres_url)
    with schema_of(postgres_server) as other:
        assert migrate(postgres_url, other).ok
        assert log_of(store) == log_of(other)


def test_what_came_meanwhile_is_copied_by_the_next_one(store: Path, copy: str) -> None:
    """Writers need not stop for long; a repeat without news copies nothing."""
    migrate(store, copy)
    with RunTracker(store) as tracker, tracker.run("import", run_id="news"):
        pass
    found = [migrate(store, copy) for _ in range(2)]
    assert [3, 0] == [report.copied for report in found]
    assert log_of(store) == log_of(copy)


def test_it_says_who_still_writes(store: Path, tmp_path: Path) -> None:
    """A run under way in a living process is one whose end would go to the old store."""
    with RunTracker(store) as tracker, tracker.run("import"):
        tracker.store.renew_lease(this_owner(), tracker.clock())
        report = migrate(store, tmp_path / "copy.db")
    assert ((f"pid {os.getpid()} on {os.uname().nodename}",), False) == (
        report.writers,
        report.settled,
    )


@pytest.mark.parametrize(
    ("copy", "step", "done"),
    [
        ("sqlite", "copying", 1000),
        ("sqlite", "computing rows", 0),
        ("sqlite", "comparing", 0),
        ("sqlite", "verifying", 0),
        ("postgres", "copying", 1000),
        ("postgres", "computing rows", 0),
    ],
    indirect=["copy"],
)
def test_a_killed_migration_is_done_again(large: Path, copy: str, step: str, done: int) -> None:
    """Wherever SIGKILL strikes: no event is missing, none is there twice, and whoever opens the copy finds its rows."""
    command = [sys.executable, "-c", KILLED_AT, large, copy, step, str(done)]
    died = subprocess.run(command, timeout=PATIENCE, check=False, capture_output=True)
    assert -signal.SIGKILL == died.returncode, died.stderr
    with RunTracker(copy) as tracker:
        found = tracker.verify()
        assert (True, 0 if step == "copying" else 400) == (found.ok, found.runs)
    report = migrate(large, copy)
    assert (1200 if step == "copying" else 0, True) == (report.copied, report.ok)
    assert log_of(large) == log_of(copy)


def test_a_foreign_destination_is_refused(store: Path, copy: str) -> None:
    """And left as it was."""
    with RunTracker(copy) as tracker:
        tracker.create("import")
    before = log_of(copy)
    with pytest.raises(InvalidInput, match="found the events of another store"):
        migrate(store, copy)
    assert before == log_of(copy)


def test_a_copy_with_events_of_its_own_is_refused(store: Path, copy: str) -> None:
    """Two truths cannot be brought together by copying."""
    migrate(store, copy)
    for path in (store, copy):
        with RunTracker(path) as tracker:
            tracker.create("import", run_id=str(path))
    before = log_of(copy)
    with pytest.raises(InvalidInput, match="somebody has written there"):
        migrate(store, copy)
    assert before == log_of(copy)


def test_an_older_source_is_refused(store: Path, tmp_path: Path) -> None:
    """The copy has gone on: copying would not bring its events back."""
    copy = tmp_path / "copy.db"
    migrate(store, copy)
    with RunTracker(copy) as tracker:
        tracker.create("import")
    with pytest.raises(InvalidInput, match="expected a destination whose"):
        migrate(store, copy)


def test_a_source_that_is_not_whole_is_refused(store: Path, tmp_path: Path) -> None:
    """Nothing is copied, so that nobody takes the copy for a good one."""
    with closing(sqlite3.connect(store)) as raw, raw:
        raw.execute("DELETE FROM events WHERE originator_id = 'late' AND originator_version = 2")
    with pytest.raises(StoreCorrupt, match="run late: events: expected versions 1 to 5"):
        migrate(store, tmp_path / "copy.db")
    assert [] == log_of(tmp_path / "copy.db")


def test_places_that_cannot_be_right(store: Path, tmp_path: Path) -> None:
    """Each is told before a file is made."""
    (tmp_path / "link.db").symlink_to(store)
    for place in (store, tmp_path / "link.db", f"sqlite:///{store}"):
        with pytest.raises(InvalidInput, match="expected two stores, found"):
            migrate(store, place)
    with pytest.raises(InvalidInput, match="found one in memory"):
        migrate("sqlite:///:memory:", tmp_path / "copy.db")
    with pytest.raises(StoreUnavailable, match="expected a file to copy from, found none"):
        migrate(tmp_path / "none.db", tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()


def test_the_command(store: Path, tmp_path: Path) -> None:
    """It says what it did, and exits with 2 for what cannot be."""
    copy = tmp_path / "copy.db"
    done = lastword("", "migrate", str(store), f"sqlite:///{copy}")
    count = len(log_of(store))
    assert (0, b"") == (done.returncode, done.stderr)
    first, second = done.stdout.decode().splitlines()
    newest = migrate(store, copy).position
    assert (
        f"{count} events copied; sqlite:///{copy} has 2 runs with {count} events up to position {newest}"
        == first
    )
    again = lastword("", "migrate", str(store), str(copy), "--json")
    (found,) = json_lines(again.stdout)
    assert (True, 0, second.split()[1]) == (found["ok"], found["copied"], found["digest"])
    refused = lastword("", "migrate", str(store), str(store))
    assert (2, 1) == (refused.returncode, refused.stderr.count(b"\n"))


def test_the_command_says_what_is_left_to_do(store: Path, tmp_path: Path) -> None:
    """While a command runs as a tracked run, its end is still to come."""
    command = [sys.executable, "-m", "lastword", "migrate", str(store), str(tmp_path / "copy.db")]
    with RunTracker(store) as tracker, tracker.run("import"):
        tracker.store.renew_lease(this_owner(), tracker.clock())
        done = subprocess.run(
            command, env=environment(""), capture_output=True, timeout=PATIENCE, check=True
        )
    told = done.stderr.decode()
    assert f"at work on it a moment ago: pid {os.getpid()} on" in told
    assert "migrate again: only what is new is copied" in told

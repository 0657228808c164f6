"""Connections: what holds on each of them, when they are closed, and what becomes of the driver's errors."""

from __future__ import annotations

import contextlib
import gc
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from threading import Barrier, Event, Thread

import pytest
from eventsourcing import persistence

from contracts.kit import LONG, Writer, at_once, seen
from lastword.domain.errors import InvalidInput, StoreCorrupt, StoreUnavailable
from lastword.domain.events import RunCompleted, RunCreated
from lastword.domain.status import RunStatus
from lastword.infrastructure.sqlite import SQLiteStore
from lastword.infrastructure.sqlite.faults import spoils_connection, translate
from lastword.infrastructure.sqlite.network import network_filesystem
from lastword.infrastructure.sqlite.transactions import as_library_error

CREATED = RunCreated(name="import")
URL = "sqlite:///runs.db"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    with contextlib.closing(SQLiteStore(path, busy_timeout=0.05)) as store:
        yield store


# -- what holds on each connection


def test_every_connection_is_durable(store: SQLiteStore):
    """Each thread's own, and a fresh one: full synchronisation, and a log in the file."""
    datastore = store.recorder.datastore

    def pragmas(_: int) -> tuple[int, str]:
        ((synchronous,),) = datastore.fetch("PRAGMA synchronous")
        ((mode,),) = datastore.fetch("PRAGMA journal_mode")
        return synchronous, mode

    assert set(at_once(4, pragmas)) == {(2, "wal")}
    fresh = datastore.separate_link()
    assert fresh.raw.execute("PRAGMA synchronous").fetchone() == (2,)
    assert fresh.raw.execute("PRAGMA busy_timeout").fetchone() == (50,)
    datastore.discard(fresh)


def test_an_append_is_on_the_disk_when_it_returns(store: SQLiteStore, path: Path, tmp_path: Path):
    """A copy of the files, as a power cut would leave them, has it."""
    Writer(store).start("a")
    (tmp_path / "copy").mkdir()
    for name in ("runs.db", "runs.db-wal"):
        (tmp_path / "copy" / name).write_bytes((tmp_path / name).read_bytes())
    with contextlib.closing(SQLiteStore(tmp_path / "copy" / "runs.db")) as copy:
        assert copy.view("a") == store.view("a")


def test_connections_of_ended_threads_are_closed(store: SQLiteStore):
    """Only the ones of living threads stay open."""
    datastore = store.recorder.datastore
    store.counts()
    before = datastore.connections
    at_once(6, lambda _: store.counts())
    gc.collect()
    assert datastore.connections == before == 1


def test_a_connection_serves_one_thread(store: SQLiteStore):
    """While the threads live, each has its own."""
    datastore = store.recorder.datastore
    together = Barrier(4, timeout=LONG)
    store.counts()

    def count(_: int) -> int:
        store.counts()
        together.wait()
        open_now = datastore.connections
        together.wait()
        return open_now

    assert at_once(4, count) == [5, 5, 5, 5]


def test_closing_closes_the_connections_of_all_threads(path: Path):
    """Also of threads that are still there; they are told that the store is closed."""
    store = SQLiteStore(path)
    used, closed = Event(), Event()
    refusals: list[str] = []

    def use() -> None:
        store.counts()
        used.set()
        closed.wait(LONG)
        try:
            store.counts()
        except StoreUnavailable as error:
            refusals.append(str(error))

    thread = Thread(target=use)
    thread.start()
    assert used.wait(LONG)
    store.close()
    assert store.recorder.datastore.connections == 0
    closed.set()
    thread.join(LONG)
    assert ["found it closed" in refusal for refusal in refusals] == [True]
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["runs.db"]


def test_connections_that_are_closed_at_once_leave_no_journal(tmp_path: Path):
    """One of them is the last one, and tidies up; here threads end while the store is closed."""
    for number in range(20):
        store = SQLiteStore(tmp_path / f"{number}.db")
        everybody = Barrier(9)

        def use(store: SQLiteStore = store, everybody: Barrier = everybody) -> None:
            store.counts()
            everybody.wait(LONG)

        threads = [Thread(target=use) for _ in range(8)]
        for thread in threads:
            thread.start()
        everybody.wait(LONG)
        store.close()
        for thread in threads:
            thread.join(LONG)
    assert not [*tmp_path.glob("*-wal")]


def test_a_store_that_is_forgotten_lets_go(path: Path):
    """Without `close`, its connections go with it."""
    store = SQLiteStore(path)
    store.counts()
    assert (path.parent / "runs.db-wal").exists()
    del store
    gc.collect()
    assert not (path.parent / "runs.db-wal").exists()


def test_fresh_connections_are_closed_again(store: SQLiteStore):
    """Whether the append is taken or not."""
    writer = Writer(store)
    writer.start("a")
    before = store.recorder.datastore.connections
    writer.ask("a", RunCompleted(), fresh=True)
    with pytest.raises(Exception, match="expected version 0"):
        Writer(store).ask("a", CREATED, fresh=True)
    assert store.recorder.datastore.connections == before


# -- the driver's errors


def test_a_locked_file_is_worth_another_try(store: SQLiteStore, path: Path):
    """It says so after the busy timeout, keeps the driver's error, and reads go on meanwhile."""
    writer = Writer(store)
    writer.start("a")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match=r"kept its lock.*try again") as caught:
            writer.add("a", RunCompleted())
        with pytest.raises(StoreUnavailable):
            writer.ask("a", RunCompleted(), fresh=True)
        assert caught.value.transient is True
        assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
        assert store.view("a") == writer.views["a"]
        other.execute("ROLLBACK")
    writer.add("a", RunCompleted())


def test_a_full_disk_is_worth_another_try(store: SQLiteStore):
    """Nothing of the append is there, and with room it goes on."""
    writer = Writer(store)
    writer.start("a")
    raw = store.recorder.datastore.link().raw
    raw.execute("PRAGMA max_page_count = 1")
    with pytest.raises(StoreUnavailable, match=r"disk is full.*make room") as caught:
        writer.add("b", RunCreated(name="import", params={"text": "x" * 60_000}))
    assert caught.value.transient is True
    assert store.read_run("b") == []
    writer.add("b", CREATED)
    assert store.counts()[RunStatus.PENDING] == 1


def test_threads_that_wait_too_long_for_each_other_are_told(store: SQLiteStore):
    """A writer inside its guard keeps the others waiting no longer than the busy timeout."""
    writer = Writer(store)
    writer.start("a")
    inside, leave = Event(), Event()

    def linger(_: object) -> bool:
        inside.set()
        return leave.wait(LONG)

    slow = Thread(target=lambda: writer.ask("a", RunCompleted(), guard=linger))
    slow.start()
    assert inside.wait(LONG)
    with pytest.raises(StoreUnavailable, match="another thread of this") as caught:
        Writer(store).start("b")
    assert caught.value.transient is True
    assert seen(store.view("a")).status == RunStatus.RUNNING
    leave.set()
    slow.join(LONG)
    Writer(store).start("b")
    assert seen(store.view("a")).status == RunStatus.COMPLETED


def test_a_guard_may_read_but_not_write(store: SQLiteStore):
    """Reading inside it sees the state before the append; writing is refused and spoils nothing."""
    writer = Writer(store)
    view = writer.start("a").view
    same: list[object] = []

    def guard(current: object) -> bool:
        same.append(store.view("a") == current == view)
        with pytest.raises(StoreUnavailable):
            Writer(store).start("b")
        return True

    assert writer.ask("a", RunCompleted(), guard=guard) is not None
    assert same == [True]
    assert store.view("b") is None
    assert seen(store.view("a")).status == RunStatus.COMPLETED


@pytest.mark.parametrize(
    ("code", "kind", "transient"),
    [
        (sqlite3.SQLITE_BUSY, StoreUnavailable, True),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, StoreUnavailable, True),
        (sqlite3.SQLITE_LOCKED, StoreUnavailable, True),
        (sqlite3.SQLITE_FULL, StoreUnavailable, True),
        (sqlite3.SQLITE_IOERR, StoreUnavailable, True),
        (sqlite3.SQLITE_IOERR_FSYNC, StoreUnavailable, True),
        (sqlite3.SQLITE_NOMEM, StoreUnavailable, True),
        (sqlite3.SQLITE_READONLY, StoreUnavailable, False),
        (sqlite3.SQLITE_READONLY_DBMOVED, StoreUnavailable, True),
        (sqlite3.SQLITE_CANTOPEN, StoreUnavailable, False),
        (sqlite3.SQLITE_AUTH, StoreUnavailable, False),
        (sqlite3.SQLITE_NOTADB, StoreCorrupt, None),
        (sqlite3.SQLITE_CORRUPT, StoreCorrupt, None),
        (sqlite3.SQLITE_CORRUPT_INDEX, StoreCorrupt, None),
        (sqlite3.SQLITE_ERROR, StoreCorrupt, None),
        (sqlite3.SQLITE_TOOBIG, InvalidInput, None),
    ],
)
def test_each_code_of_the_driver_has_its_meaning(
    code: int, kind: type[Exception], transient: bool | None
):
    """Bare, or wrapped by the eventsourcing library; the message names the store and the driver's words."""
    bare = sqlite3.OperationalError("the driver's words")
    bare.sqlite_errorcode = code
    wrapped = as_library_error(bare)
    wrapped.__cause__ = bare
    for error in (bare, wrapped):
        found = translate(error, URL)
        assert type(found) is kind
        assert getattr(found, "transient", None) is transient
        assert URL in str(found)
        assert "the driver's words" in str(found)


def test_errors_keep_their_kind_in_the_library():
    """Each class of the driver has its namesake."""
    for kind in (
        sqlite3.IntegrityError,
        sqlite3.OperationalError,
        sqlite3.ProgrammingError,
        sqlite3.InterfaceError,
        sqlite3.DataError,
        sqlite3.DatabaseError,
    ):
        assert type(as_library_error(kind("x"))) is getattr(persistence, kind.__name__)
    assert type(as_library_error(sqlite3.Error("x"))) is persistence.PersistenceError


def test_a_connection_survives_a_lock_but_not_a_fault_of_the_disk():
    """Waiting for others says nothing about the connection; anything else may have spoilt it."""
    error = sqlite3.OperationalError("x")
    for code, spoils in (
        (sqlite3.SQLITE_BUSY, False),
        (sqlite3.SQLITE_CONSTRAINT_UNIQUE, False),
        (sqlite3.SQLITE_IOERR_WRITE, True),
        (sqlite3.SQLITE_CORRUPT, True),
    ):
        error.sqlite_errorcode = code
        assert spoils_connection(error) is spoils
    assert spoils_connection(ValueError()) is False


# -- network file systems

_MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
proc /proc proc rw 0 0
files:/export /data nfs4 rw 0 0
/dev/sdb1 /data/local xfs rw 0 0
//box/share /mnt/my\\040share cifs rw 0 0
me@host: /home/me/remote fuse.sshfs rw 0 0
tmpfs /over tmpfs rw 0 0
files:/over /over nfs rw 0 0
broken
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/var/runs.db", None),
        ("/data/runs.db", "nfs4"),
        ("/data/local/runs.db", None),
        ("/database/runs.db", None),
        ("/mnt/my share/runs.db", "cifs"),
        ("/home/me/remote/deep/er/runs.db", "fuse.sshfs"),
        ("/over/runs.db", "nfs"),
    ],
)
def test_the_deepest_mount_decides(path: str, expected: str | None):
    """And of two mounts on one point the later one."""
    assert network_filesystem(path, _MOUNTS) == expected
    assert network_filesystem(path, "") is None

"""Threads that append at one moment share a transaction; what each of them is told stays its own."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from contracts.grouping import taken
from contracts.kit import LONG, Writer, seen
from faults.interrupts import interrupted_at
from faults.kit import wait_until
from lastword import RunTracker
from lastword.domain.errors import RunAlreadyActive, StoreUnavailable, VersionConflict
from lastword.domain.events import RunCancelled, RunCompleted, RunCreated
from lastword.domain.status import RunStatus
from lastword.infrastructure.sqlite import SQLiteStore
from lastword.projections.ports import Append, Appended
from managing import QUICK

CREATED = RunCreated(name="import")


class Ticking:
    """A clock that is a second later each time it is read: a transaction reads it once."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    with contextlib.closing(
        SQLiteStore(tmp_path / "runs.db", clock=Ticking(), busy_timeout=LONG)
    ) as store:
        yield store


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(12) as pool:
        yield pool


def together(
    store: SQLiteStore, pool: ThreadPoolExecutor, requests: list[Append]
) -> list[Future[Appended | None]]:
    """Append each in a thread of its own, in this order, while somebody else writes; all of them wait when he is done."""
    turns = store.recorder.datastore.writing
    futures: list[Future[Appended | None]] = []
    with turns:
        for number, request in enumerate(requests, start=1):
            futures.append(pool.submit(store.append, request))
            wait_until(lambda expected=number: turns.waiting == expected)
    return futures


def test_who_waits_shares_a_transaction(store: SQLiteStore, pool: ThreadPoolExecutor) -> None:
    """Eight threads, one transaction, in the order in which they came."""
    writer = Writer(store)
    requests = [writer.request(number, CREATED) for number in range(8)]
    answers = [taken(future.result(LONG)) for future in together(store, pool, requests)]
    assert [answer.view.run_id for answer in answers] == list(range(8))
    history = store.read(0, 100)
    assert [event.run_id for event in history] == list(range(8))
    assert len({event.recorded_at for event in history}) == 1
    assert store.inspect(writer.at + timedelta(days=1)) == []


def test_a_refusal_in_a_group_is_the_own_one(store: SQLiteStore, pool: ThreadPoolExecutor) -> None:
    """A conflict, and a key that is held, are told to those whom they concern; the others' events are committed."""
    writer = Writer(store)
    view = writer.start("a").view
    holder = RunCreated(name="import", exclusive="nightly")
    requests = [
        writer.request("b", CREATED),
        writer.request("a", RunCompleted(result=1), view=view),
        writer.request("a", RunCancelled(), view=view),
        writer.request("c", holder),
        writer.request("d", holder),
        writer.request("e", CREATED),
    ]
    futures = together(store, pool, requests)
    errors = [future.exception(LONG) for future in futures]
    assert [type(error) for error in errors] == [
        type(None),
        type(None),
        VersionConflict,
        type(None),
        RunAlreadyActive,
        type(None),
    ]
    assert seen(store.view("a")).status == RunStatus.COMPLETED
    assert [event.run_id for event in store.read(2, 100)] == ["b", "a", "c", "e"]
    assert len({event.recorded_at for event in store.read(2, 100)}) == 1
    assert store.read_run("d") == []
    assert store.inspect(writer.at + timedelta(days=1)) == []


def test_a_fault_is_told_to_all(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    """Another process keeps the lock: each of them is told by an error of its own, and nothing was written."""
    with contextlib.closing(SQLiteStore(tmp_path / "runs.db", busy_timeout=0.3)) as store:
        writer = Writer(store)
        requests = [writer.request(number, CREATED) for number in range(4)]
        with contextlib.closing(
            sqlite3.connect(tmp_path / "runs.db", isolation_level=None)
        ) as other:
            other.execute("BEGIN IMMEDIATE")
            errors = [future.exception(LONG) for future in together(store, pool, requests)]
            other.execute("ROLLBACK")
        assert {type(error) for error in errors} == {StoreUnavailable}
        assert len({id(error) for error in errors}) == 4
        assert all(error.transient for error in errors if isinstance(error, StoreUnavailable))
        assert store.last_position() == 0
        for request in requests:
            assert store.append(request) is not None


def interrupt(thread: threading.Thread) -> None:
    """What a signal does to the main thread, for any thread."""
    assert thread.ident is not None
    number = ctypes.c_ulong(thread.ident)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(number, ctypes.py_object(KeyboardInterrupt))


def test_the_others_survive_an_interrupt_of_the_one_who_writes(
    store: SQLiteStore, tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    """They are told to try again, at once, and can."""
    writer = Writer(store)
    turns = store.recorder.datastore.writing
    requests = [writer.request(number, CREATED) for number in range(4)]
    interrupted: list[BaseException] = []

    def lead() -> None:
        try:
            store.append(requests[0])
        except BaseException as error:  # noqa: BLE001  # that is the point
            interrupted.append(error)

    with contextlib.closing(sqlite3.connect(tmp_path / "runs.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with turns:
            futures = [pool.submit(store.append, request) for request in requests[1:]]
            wait_until(lambda: turns.waiting == 3)
            # The turn is held until the leader stands behind the others; then it takes all of them along, or one of them does.
            leader = threading.Thread(target=lead)
            leader.start()
            wait_until(lambda: turns.waiting == 4)
        wait_until(lambda: turns.waiting == 0)  # taken, and waiting for the other process
        interrupt(leader)
        other.execute("ROLLBACK")
    leader.join(LONG)
    assert not leader.is_alive()
    for future, request in zip(futures, requests[1:], strict=True):
        try:
            future.result(LONG)
        except StoreUnavailable:
            store.append(request)
    assert [store.view(number) is not None for number in (1, 2, 3)] == [True] * 3
    assert {type(error) for error in interrupted} <= {KeyboardInterrupt}
    assert len(store.read(0, 100)) in {3, 4}
    assert store.append(writer.request("later", CREATED)) is not None


def test_who_waits_for_a_thread_that_has_ended_is_told(
    store: SQLiteStore, pool: ThreadPoolExecutor
) -> None:
    """Taken along by one that never came back: not stranded, and free to try again."""
    writer = Writer(store)
    turns = store.recorder.datastore.writing
    request = writer.request("a", CREATED)
    turns.acquire()
    future = pool.submit(store.append, request)
    wait_until(lambda: turns.waiting == 1)
    assert len(turns.take(10)) == 1
    turns.release()
    with pytest.raises(StoreUnavailable, match="has ended; try again") as caught:
        future.result(LONG)
    assert caught.value.transient is True
    assert store.append(request) is not None


def test_an_interrupted_wait_withdraws_the_step(store: SQLiteStore) -> None:
    """Nothing is written for a thread that did not wait for it."""
    writer = Writer(store)
    turns = store.recorder.datastore.writing
    ended = threading.Event()

    def wait() -> None:
        try:
            store.append(writer.request("a", CREATED))
        except KeyboardInterrupt:
            ended.set()

    with turns:
        thread = threading.Thread(target=wait)
        thread.start()
        wait_until(lambda: turns.waiting == 1)
        interrupt(thread)
        assert ended.wait(LONG)
        assert turns.waiting == 0
    thread.join(LONG)
    assert store.view("a") is None


_WRITERS = """
import os, sys, threading
from lastword import RunTracker

tracker = RunTracker("runs.db")
acknowledged = os.open("acknowledged", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def live(thread):
    number = 0
    while True:
        run_id = f"{sys.argv[1]}-{thread}-{number}"
        for step in (tracker.create, tracker.start, tracker.complete):
            step("import", run_id=run_id) if step == tracker.create else step(run_id)
            os.write(acknowledged, f"{run_id} {step.__name__}\\n".encode())
        number += 1

for thread in range(8):
    threading.Thread(target=live, args=(thread,)).start()
"""

_TYPES = {"create": "RunCreated", "start": "RunStarted", "complete": "RunCompleted"}


def test_what_eight_threads_were_told_survives_a_kill(tmp_path: Path) -> None:
    """SIGKILL in the middle of it, three times: every acknowledged event is there, once, and rows are folds."""
    acknowledged = tmp_path / "acknowledged"
    RunTracker(tmp_path / "runs.db").close()
    size = 0
    for life in range(3):
        process = subprocess.Popen([sys.executable, "-c", _WRITERS, str(life)], cwd=tmp_path)
        try:
            enough = size + 4_000
            wait_until(
                lambda least=enough: acknowledged.exists() and acknowledged.stat().st_size > least,
                60,
            )
        finally:
            process.kill()
            process.wait(LONG)
        size = acknowledged.stat().st_size
    told = [line.split() for line in acknowledged.read_text().splitlines()]
    with RunTracker(tmp_path / "runs.db") as tracker:
        assert tracker.verify().ok
        types: dict[str, list[str]] = {
            run_id: [event.type for event in tracker.history(run_id)] for run_id, _ in told
        }
    assert [step for step in told if types[step[0]].count(_TYPES[step[1]]) != 1] == []
    assert len(told) > 300


_FULL = """
import resource, signal, sys, threading
from lastword import RunTracker

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
tracker = RunTracker("runs.db", retry_base_delay=0.01, retry_attempts=2)
run_ids = [tracker.create("import", run_id=number) for number in range(8)]
for run_id in run_ids:
    tracker.start(run_id)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))  # room in the spool, none in the store's journal
begin, receipts = threading.Barrier(8), []

def finish(run_id):
    begin.wait()
    receipts.append(tracker.complete(run_id, result=run_id))

threads = [threading.Thread(target=finish, args=(run_id,)) for run_id in run_ids]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert [receipt.stored for receipt in receipts] == [False] * 8, receipts
assert tracker.counts()["running"] == 8
assert tracker.spool_status().events == 8, tracker.spool_status()
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
tracker.deliver_spool()
assert tracker.counts()["completed"] == 8
assert [tracker.get(run_id).result for run_id in run_ids] == run_ids
assert tracker.verify().ok
tracker.close()
"""


def test_a_disk_that_is_full_at_the_commit_fails_all_and_the_spool_delivers(tmp_path: Path) -> None:
    """The files may not grow any more while eight threads finish: no outcome is stored, none is lost, each gets in once."""
    done = subprocess.run(
        [sys.executable, "-c", _FULL],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_an_interrupt_anywhere_in_an_append_leaves_nothing_held(tmp_path: Path) -> None:
    """Python raises what a signal's handler raises between any two calls: afterwards this process and others write as before."""
    path, where, number = tmp_path / "runs.db", "", 0
    gc.collect()
    gc.disable()  # what an earlier tracker left is not to be interrupted
    try:
        with RunTracker(path, **QUICK) as tracker, RunTracker(path, **QUICK) as other:
            tracker.start(tracker.create("import"))  # what is looked up once is known from here on
            while where is not None:
                number += 1
                run_id = tracker.create("import")
                where = interrupted_at(number, lambda: tracker.start(run_id))  # noqa: B023  # it is called at once
                for one in (tracker, other):
                    assert "pending" == one.get(one.create("import")).status, where
    finally:
        gc.enable()
    assert number > 20

"""Several processes on one file, and what a fork does to an open store."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from contracts.kit import LONG, Writer
from lastword.domain.errors import StoreUnavailable
from lastword.domain.events import RunCreated
from lastword.domain.status import RunStatus
from lastword.infrastructure.sqlite import SQLiteStore
from lastword.projections.run_view import fold_view

TESTS = Path(__file__).parents[1]

_BEGIN = f"""
import json, os, sys
sys.path.insert(0, {str(TESTS)!r})
from contracts.kit import Writer
from lastword.domain.events import RunCompleted, RunCreated, RunStarted
from lastword.infrastructure.sqlite import SQLiteStore
from lastword.testing import OWNER

path, me = sys.argv[1:]

def say(thing):
    print(json.dumps(thing), flush=True)

def wait():
    assert sys.stdin.readline()
"""

_LIVES = """
say("ready"); wait()
store = SQLiteStore(path)
writer = Writer(store)
for number in range(20):
    run_id = f"{me}-{number}"
    writer.add(run_id, RunCreated(name="import"))
    writer.add(run_id, RunStarted(owner=OWNER))
    writer.add(run_id, RunCompleted(result=number))
say(store.last_position() >= 60)
store.close()
"""


class Process:
    """A Python process that runs a script; it and the test tell each other when to go on."""

    def __init__(self, script: str, path: Path, me: int = 0) -> None:
        self.popen = subprocess.Popen(
            # From Python 3.12 on, a fork with threads around is warned of; that it is safe here is what is tested.
            [
                sys.executable,
                "-W",
                "ignore::DeprecationWarning",
                "-c",
                _BEGIN + script,
                str(path),
                str(me),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._limit = Timer(
            3 * LONG, self.popen.kill
        )  # then `hear` finds the end instead of waiting for ever
        self._limit.start()

    def stop(self) -> None:
        """End it, whatever it does."""
        self._limit.cancel()
        self.popen.kill()
        self.popen.communicate()

    def go_on(self) -> None:
        """Let it pass its next `wait`."""
        assert self.popen.stdin is not None
        self.popen.stdin.write("\n")
        self.popen.stdin.flush()

    def hear(self) -> Any:
        """What it says next; its error output when it died instead."""
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        if not line:
            _, error = self.popen.communicate(timeout=LONG)
            raise AssertionError(error)
        return json.loads(line)

    def end(self) -> int:
        """Let it run to its end."""
        _, error = self.popen.communicate(timeout=LONG)
        assert error == ""
        return self.popen.returncode


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def processes() -> Iterator[list[Process]]:
    started: list[Process] = []
    yield started
    for process in started:
        process.stop()


def test_processes_create_and_fill_one_store_at_once(path: Path, processes: list[Process]):
    """None of them fails; every event is there once, in an order without doubles, and each row is the fold."""
    processes += [Process(_LIVES, path, me) for me in range(4)]
    assert [process.hear() for process in processes] == ["ready"] * 4
    for process in processes:
        process.go_on()
    assert [process.hear() for process in processes] == [True] * 4
    assert [process.end() for process in processes] == [0] * 4
    with contextlib.closing(SQLiteStore(path)) as store:
        events = store.read(0, 1000)
        assert [event.position for event in events] == list(range(1, 241))
        assert [event.recorded_at for event in events] == sorted(e.recorded_at for e in events)
        assert store.counts()[RunStatus.COMPLETED] == 80
        assert all(run.row == fold_view(run.events) for run in store.scan())


def test_an_append_of_another_process_wakes_those_who_wait(path: Path, processes: list[Process]):
    """They learn of it without being told."""
    script = """
store = SQLiteStore(path)
say("ready"); wait()
Writer(store).add("theirs", RunCreated(name="import"))
wait()
"""
    with contextlib.closing(SQLiteStore(path)) as store:
        Writer(store).add("mine", RunCreated(name="import"))
        processes.append(Process(script, path))
        assert processes[0].hear() == "ready"
        assert store.wait(1, 0.05) is False
        processes[0].go_on()
        assert store.wait(1, LONG) is True
        assert [event.run_id for event in store.read(1, 10)] == ["theirs"]


def test_a_killed_process_leaves_what_it_was_told_is_stored(path: Path, processes: list[Process]):
    """No close, no clean-up: the next one finds every acknowledged event, and no lock."""
    script = """
store = SQLiteStore(path)
Writer(store).start("theirs")
store.recorder.datastore.link().raw.execute("BEGIN IMMEDIATE")
say("stored"); wait()
"""
    processes.append(Process(script, path))
    assert processes[0].hear() == "stored"
    processes[0].popen.kill()
    processes[0].popen.wait(LONG)
    with contextlib.closing(SQLiteStore(path)) as store:
        assert [event.version for event in store.read_run("theirs")] == [1, 2]
        Writer(store).start("mine")


_FORK = """
import threading
store = SQLiteStore(path)
writer = Writer(store)
writer.start("before")
held, fork, done = threading.Event(), threading.Event(), threading.Event()

def linger(view):                       # another thread is inside a transaction when the fork happens
    held.set()
    assert done.wait(0.3) is False
    return True

def files():
    return sorted({os.path.basename(os.readlink(f"/proc/self/fd/{fd}").removesuffix(" (deleted)"))
                   for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")} & {"runs.db", "runs.db-wal"})

thread = threading.Thread(target=lambda: writer.ask("before", RunCompleted(), guard=linger))
thread.start()
held.wait()
child = os.fork()
if child == 0:
    inherited = files()
    Writer(store).start("child")
    seen = store.counts()["running"]
    store.close()
    say([inherited, seen])
    os._exit(0)
_, status = os.waitpid(child, 0)
thread.join()
Writer(store).start("parent")
say([status, store.recorder.datastore.connections, sorted(view.run_id for view in store.active())])
store.close()
say(sorted(name for name in os.listdir(os.path.dirname(path))))
"""


@pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="looks at open files the way Linux shows them"
)
def test_a_forked_child_has_connections_of_its_own(path: Path, processes: list[Process]):
    """It inherits none, not even from a thread that is writing; parent and child both go on."""
    processes.append(Process(_FORK, path))
    assert processes[0].hear() == [[], 1]
    assert processes[0].hear() == [0, 1, ["child", "parent"]]
    assert processes[0].hear() == ["runs.db"]
    assert processes[0].end() == 0


_FORK_WITHOUT_HOOKS = """
import ctypes
store = SQLiteStore(path)
Writer(store).start("before")
child = ctypes.PyDLL(None).fork()       # what an extension module might do
if child == 0:
    Writer(store).start("child")
    from lastword.infrastructure.sqlite.links import INHERITED
    say([len(INHERITED), store.counts()["running"]])
    store.close()
    os._exit(0)
os.waitpid(child, 0)
Writer(store).start("parent")
say(sorted(view.run_id for view in store.active()))
store.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_connection_of_the_parent_is_never_used_in_the_child(
    path: Path, processes: list[Process]
):
    """Also when the fork did not tell Python: the child keeps it unused, and opens its own."""
    processes.append(Process(_FORK_WITHOUT_HOOKS, path))
    assert processes[0].hear() == [1, 2]
    assert processes[0].hear() == ["before", "child", "parent"]
    assert processes[0].end() == 0


_FORK_IN_MEMORY = """
store = SQLiteStore(":memory:")
Writer(store).start("before")
child = os.fork()
if child == 0:
    try:
        store.counts()
    except Exception as error:
        say([type(error).__name__, str(error)])
    os._exit(0)
os.waitpid(child, 0)
say(store.counts()["running"])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_store_in_memory_stays_with_its_process(path: Path, processes: list[Process]):
    """A child would write into a copy that nobody reads, so it is refused."""
    processes.append(Process(_FORK_IN_MEMORY, path))
    kind, message = processes[0].hear()
    assert (kind, "forked child" in message) == (StoreUnavailable.__name__, True)
    assert processes[0].hear() == 1

"""Owners, and the thread that says they live."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from datetime import timedelta

import psutil
import pytest

from faults.kit import wait_until
from lastword import Owner
from lastword.infrastructure.liveness import owners as liveness
from lastword.infrastructure.liveness.holding import Holdings
from lastword.infrastructure.liveness.owners import Heartbeat, owner_alive, this_owner


def changed(owner: Owner, **fields: object) -> Owner:
    return owner.model_copy(update=fields)


@pytest.fixture
def child() -> subprocess.Popen[bytes]:
    """A process that lives until its standard input is closed."""
    return subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"],
        stdin=subprocess.PIPE,
        close_fds=True,
    )


def owner_of(child: subprocess.Popen[bytes]) -> Owner:
    return liveness.owner_of(child.pid)


def end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()
    if child.stdin is not None:
        child.stdin.close()


def test_this_process_is_alive() -> None:
    """A process knows itself."""
    assert owner_alive(this_owner()) is True


def test_a_living_and_a_killed_process(child: subprocess.Popen[bytes]) -> None:
    """Alive while it lives; gone once it was killed and collected."""
    owner = owner_of(child)
    alive = owner_alive(owner)
    end(child)
    assert (True, False) == (alive, owner_alive(owner))


def test_a_zombie_is_gone(child: subprocess.Popen[bytes]) -> None:
    """A killed process that nobody has collected yet does no work any more."""
    owner = owner_of(child)
    os.kill(child.pid, signal.SIGKILL)
    wait_until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
    alive = owner_alive(owner)
    end(child)
    assert alive is False


def test_a_stopped_process_is_alive(child: subprocess.Popen[bytes]) -> None:
    """SIGSTOP suspends and does not end: only the lease can tell."""
    owner = owner_of(child)
    os.kill(child.pid, signal.SIGSTOP)
    alive = owner_alive(owner)
    end(child)
    assert alive is True


def test_a_reused_pid_is_another_owner() -> None:
    """The same pid with another start time: the owner is gone."""
    me = this_owner()
    older = changed(me, started_at=me.started_at - timedelta(hours=1), start_ticks=1)
    assert owner_alive(older) is False


def test_a_reused_pid_is_known_without_ticks() -> None:
    """Where the system does not count ticks, the start time by the clock tells the two apart."""
    me = changed(this_owner(), start_ticks=None)
    older = changed(me, started_at=me.started_at - timedelta(hours=1))
    assert (True, False) == (owner_alive(me), owner_alive(older))


def test_a_clock_that_was_set_does_not_end_anybody() -> None:
    """After the clock of the host was set, start times read differently; the ticks since boot do not."""
    me = this_owner()
    assert owner_alive(changed(me, started_at=me.started_at - timedelta(hours=1))) is True


def test_a_rebooted_host_ended_its_owners() -> None:
    """The same host name with another boot id: the owner is gone."""
    me = this_owner()
    if me.boot_id is None:
        me = changed(me, boot_id="now")
    assert owner_alive(changed(me, boot_id="before"), me) is False


@pytest.mark.parametrize("field", [{"host": "elsewhere"}, {"namespace": "pid:[1]"}])
def test_another_host_or_container_cannot_be_judged(field: dict[str, object]) -> None:
    """A pid means nothing on another host, nor in another container that shares the host name."""
    assert owner_alive(changed(this_owner(), **field)) is None


def test_a_container_that_shares_the_host_name_is_not_a_reboot() -> None:
    """Another boot id and another namespace: a container elsewhere, not a reboot of this host."""
    me = changed(this_owner(), boot_id="a", namespace="pid:[1]")
    assert owner_alive(changed(me, boot_id="b", namespace="pid:[2]"), me) is None


def test_the_heartbeat_survives_a_failing_beat() -> None:
    """Beats that raise are followed by beats that do not."""
    beats: list[int] = []
    third = threading.Event()

    def beat() -> None:
        beats.append(len(beats))
        if len(beats) < 3:
            raise OSError("no store")
        third.set()

    heartbeat = Heartbeat(beat, interval=0.01)
    heartbeat.ensure_running()
    assert third.wait(10)
    heartbeat.stop()


def test_the_heartbeat_is_one_thread() -> None:
    """Asking twice for the thread does not start two; after stop it can be had again."""
    heartbeat = Heartbeat(lambda: None, interval=60)

    def running() -> int:
        return sum(thread.name == "lastword-heartbeat" for thread in threading.enumerate())

    before = running()
    heartbeat.ensure_running()
    heartbeat.ensure_running()
    assert before + 1 == running()
    heartbeat.stop()
    assert before == running()
    heartbeat.ensure_running()
    assert before + 1 == running()
    heartbeat.stop()


def test_no_thread_to_be_had_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the system gives no thread, the work goes on without a heartbeat."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    heartbeat = Heartbeat(lambda: None, interval=60)
    heartbeat.ensure_running()
    heartbeat.stop()


def test_a_forked_child_holds_nothing() -> None:
    """The runs belong to the parent; the child starts with none, and with a thread of its own."""
    holdings = Holdings(lambda: None, interval=60)
    holdings.hold("parent's")
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        held_before = holdings.any
        holdings.hold("child's")
        os.write(writer, b"%d%d" % (held_before, holdings.any))
        os._exit(0)
    os.waitpid(pid, 0)
    assert b"01" == os.read(reader, 2)
    assert holdings.any
    holdings.stop()
    os.close(reader)
    os.close(writer)


def test_a_beat_that_is_not_done_comes_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that waits is tried every second, not every interval; then the interval is long again."""
    monkeypatch.setattr("lastword.infrastructure.liveness.owners._SOON", 0.01)
    done = threading.Event()
    beats: list[int] = []

    def beat() -> bool:
        beats.append(1)
        if len(beats) < 3:
            return True
        done.set()
        return False

    heartbeat = Heartbeat(beat, interval=3600)
    heartbeat.ensure_running()
    heartbeat.hurry()
    heartbeat.hurry()
    assert done.wait(20)
    heartbeat.stop()
    assert 3 == len(beats)

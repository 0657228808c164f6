"""Who owns a run, whether that process lives, and the thread that says so.

A pid alone proves nothing: pids are reused, hosts reboot, containers share host names. So a process is known by host, pid, start
time, boot id and pid namespace, and another process is judged only from the same host, boot and namespace.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ...domain.values import Owner
from ..forks import tell_child
from ..logs import get_logger
from ..telemetry.metrics import HEARTBEAT_FAILURES, count

if TYPE_CHECKING:
    import psutil

log = get_logger("lastword.liveness")

_START_TOLERANCE = timedelta(seconds=2)
"""The start time of one process may be reported with this much difference after the clock was set."""


def this_owner() -> Owner:
    """The process that calls, as an owner of runs. After a fork, the child is another owner."""
    return _owner_of_pid(os.getpid())


@cache
def _owner_of_pid(pid: int) -> Owner:
    return owner_of(pid)


def owner_of(pid: int) -> Owner:
    """The process with this pid on this host, as an owner of runs. Raises `psutil.NoSuchProcess`.

    Beside the start time by the clock it carries ``start_ticks``, the start in clock ticks since the host was booted, where the system
    tells it: that number stays when the clock is set.

    >>> owner_of(os.getpid()) == this_owner()
    True
    """
    import psutil

    started = datetime.fromtimestamp(psutil.Process(pid).create_time(), UTC)
    return Owner.model_validate(
        {
            "host": socket.gethostname(),
            "pid": pid,
            "started_at": started,
            "boot_id": _first_line("/proc/sys/kernel/random/boot_id"),
            "namespace": _link("/proc/self/ns/pid"),
            "start_ticks": _start_ticks(pid),
        }
    )


def owner_alive(owner: Owner, me: Owner | None = None) -> bool | None:
    """Whether the owning process exists; None when it cannot be told from here.

    `me` is the process that asks, by default the calling one.
    """
    me = me or this_owner()
    if owner == me:
        return True  # without asking the system, which takes a hundred times as long
    if owner.host != me.host:
        return None
    if owner.boot_id and me.boot_id and owner.boot_id != me.boot_id:
        # One host name, two boots: a reboot, unless containers share the name; namespaces tell them apart.
        return False if owner.namespace == me.namespace or me.namespace is None else None
    if owner.namespace != me.namespace:
        return None
    import psutil

    try:
        process = psutil.Process(owner.pid)
        return _started_together(process, owner) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return None


def is_left_to(owner: Owner) -> bool:
    """Whether what this owner began is its own to end: we are a forked child of it, and it lives on.

    A child whose parent has gone carries on in its place, as a process does that makes itself a daemon.

    >>> is_left_to(this_owner())
    False
    """
    me = this_owner()
    return owner != me and owner_alive(owner, me) is not False


def _started_together(process: psutil.Process, owner: Owner) -> bool:
    """Whether the process that has the owner's pid now is the owner, and not one that was given the pid after its end."""
    ticks = _start_ticks(process.pid)
    recorded = (owner.model_extra or {}).get("start_ticks")
    if owner.boot_id is not None and None not in {ticks, recorded}:
        return ticks == recorded
    started = datetime.fromtimestamp(process.create_time(), UTC)
    return abs(started - owner.started_at) <= _START_TOLERANCE


def _start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None where ``/proc`` does not say."""
    line = _first_line(f"/proc/{pid}/stat")
    try:
        # The second field is a name in brackets, which may hold anything; the start is the 22nd.
        return None if line is None else int(line.rpartition(")")[2].split()[19])
    except (IndexError, ValueError):
        return None


_SOON = 1.0
"""Seconds to the next beat when one has failed, or something waits."""


class Heartbeat:
    """A thread that calls `beat` every `interval` seconds while it is wanted.

    A beat that raises is logged, and the next one comes all the same, a second later: whoever depends on the beat should not have to
    wait for the store and then for the interval. So it is, too, when the beat says True: something still waits to be done.
    A child process after a fork has no thread until it asks for one.
    """

    def __init__(self, beat: Callable[[], bool | None], interval: float) -> None:
        self._beat = beat
        self._interval = interval
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._in_a_hurry = False
        tell_child(self)

    def ensure_running(self) -> None:
        """Start the thread unless it runs. When no thread can be had, that is logged and the caller goes on."""
        if self._thread is not None and self._thread.is_alive():
            return
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return
            self._stop = threading.Event()
            thread = threading.Thread(
                target=self._loop, args=(self._stop,), name="lastword-heartbeat", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:
                # From Python 3.12 on, a process that is about to exit starts no more threads; then there is nothing to warn of.
                exiting = not threading.main_thread().is_alive()
                tell = log.debug if exiting else log.warning
                tell("lastword.heartbeat.no_thread", exc_info=True)
                return
            self._thread = thread

    def forget_parent(self) -> None:
        """After a fork the child has no thread, and whoever held the lock is not in this process."""
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = None

    def quicken(self, interval: float) -> None:
        """Beat at least this often from now on; somebody's lease is short."""
        if interval >= self._interval:
            return
        with self._lock:
            self._interval = min(interval, self._interval)
            self._replace_sleeper()

    def hurry(self) -> None:
        """Beat within a second, and every second until the beat has nothing left to do."""
        with self._lock:
            if not self._in_a_hurry:
                self._in_a_hurry = True
                self._replace_sleeper()
        self.ensure_running()

    def _replace_sleeper(self) -> None:
        """The thread sleeps the old interval; the next one does not."""
        self._stop.set()
        self._thread = None

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread and wait for it, at most `timeout` seconds."""
        self._stop.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
        self._thread = None

    def _loop(self, stop: threading.Event) -> None:
        interval = self._interval
        soon = min(interval, _SOON)
        failing = False
        while not stop.wait(soon if failing or self._in_a_hurry else interval):
            try:
                self._in_a_hurry = bool(self._beat())
            except Exception as error:
                count(HEARTBEAT_FAILURES)
                if not failing:  # once per outage is enough
                    log.warning("lastword.heartbeat.failed", error=str(error), exc_info=True)
                failing = True
            else:
                if failing:
                    log.info("lastword.heartbeat.resumed")
                failing = False


def _first_line(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip() or None
    except (OSError, ValueError):
        return None


def _link(path: str) -> str | None:
    try:
        return str(Path(path).readlink())
    except OSError:
        return None

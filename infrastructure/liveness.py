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

from ..domain.values import Owner
from .logs import get_logger

log = get_logger("lastword.liveness")

_START_TOLERANCE = timedelta(seconds=2)
"""The start time of one process may be reported with this much difference after the clock was set."""


def this_owner() -> Owner:
    """The process that calls, as an owner of runs. After a fork, the child is another owner."""
    return _owner_of_pid(os.getpid())


@cache
def _owner_of_pid(pid: int) -> Owner:
    import psutil

    started = datetime.fromtimestamp(psutil.Process(pid).create_time(), UTC)
    return Owner(
        host=socket.gethostname(),
        pid=pid,
        started_at=started,
        boot_id=_first_line("/proc/sys/kernel/random/boot_id"),
        namespace=_link("/proc/self/ns/pid"),
    )


def owner_alive(owner: Owner, me: Owner | None = None) -> bool | None:
    """Whether the owning process exists; None when it cannot be told from here.

    `me` is the process that asks, by default the calling one.
    """
    me = me or this_owner()
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
        started = datetime.fromtimestamp(process.create_time(), UTC)
        if abs(started - owner.started_at) > _START_TOLERANCE:
            return False
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return None


_AFTER_A_FAULT = 1.0
"""Seconds to the next beat when one has failed."""


class Heartbeat:
    """A thread that calls `beat` every `interval` seconds while it is wanted.

    A beat that raises is logged, and the next one comes all the same, a second later: whoever depends on the beat should not have to
    wait for the store and then for the interval. A child process after a fork has no thread until
    it asks for one.
    """

    def __init__(self, beat: Callable[[], None], interval: float) -> None:
        self._beat = beat
        self._interval = interval
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    def ensure_running(self) -> None:
        """Start the thread unless it runs. When no thread can be had, that is logged and the caller goes on."""
        if self._thread is not None and self._thread.is_alive() and self._pid == os.getpid():
            return
        if self._pid != os.getpid():
            self._lock = threading.Lock()  # whoever held it is not in this process
        with self._lock:
            if self._thread is not None and self._thread.is_alive() and self._pid == os.getpid():
                return
            self._stop = threading.Event()
            thread = threading.Thread(
                target=self._loop, args=(self._stop,), name="lastword-heartbeat", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:
                log.warning("lastword.heartbeat.no_thread", exc_info=True)
                return
            self._thread, self._pid = thread, os.getpid()

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread and wait for it, at most `timeout` seconds."""
        self._stop.set()
        thread = self._thread
        if (
            thread is not None
            and self._pid == os.getpid()
            and thread is not threading.current_thread()
        ):
            thread.join(timeout)
        self._thread = None

    def _loop(self, stop: threading.Event) -> None:
        wait = self._interval
        while not stop.wait(wait):
            try:
                self._beat()
            except Exception as error:
                if wait == self._interval:  # once per outage is enough
                    log.warning("lastword.heartbeat.failed", error=str(error), exc_info=True)
                wait = min(self._interval, _AFTER_A_FAULT) * 0.999
            else:
                if wait != self._interval:
                    log.info("lastword.heartbeat.resumed")
                wait = self._interval


def _first_line(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="ascii").strip() or None
    except (OSError, ValueError):
        return None


def _link(path: str) -> str | None:
    try:
        return str(Path(path).readlink())
    except OSError:
        return None

"""Threads for jobs, first come first served."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from .forks import tell_child
from .logs import get_logger

log = get_logger("lastword.workers")

Job = Callable[[], None]

_LINGER_SECONDS = 2.0
"""How long a thread stays when there is nothing to do: starting one, and its connection to the store, costs time."""
_LINGERING = 4
"""How many threads may stay."""
_EXIT_CHECK_SECONDS = 0.05
"""How soon a thread that stays notices that the process wants to exit."""


class Workers:
    """Runs each job in a thread; at most `limit` at once, None: as many as there are jobs.

    The threads are not daemons: a process that exits normally waits for the jobs, as it does for `concurrent.futures`.
    """

    def __init__(self, limit: int | None, name: str) -> None:
        self._limit = limit
        self._name = name
        self._is_closed = False
        self.forget_parent()
        tell_child(self)

    def forget_parent(self) -> None:
        """After a fork there are no threads, and the jobs are the parent's."""
        self._changed = threading.Condition()
        self._queue: deque[Job] = deque()
        self._threads: set[threading.Thread] = set()
        self._idle = 0

    def submit(self, job: Job) -> None:
        """Run the job as soon as there is a place. Raises what starting a thread raises; then the job will not run."""
        with self._changed:
            self._queue.append(job)
            if len(self._queue) <= self._idle:
                self._changed.notify()
                return
            if self._limit is not None and len(self._threads) >= self._limit:
                return
            thread = threading.Thread(target=self._work, name=self._name, daemon=False)
            self._threads.add(thread)
            try:
                thread.start()  # under the lock: whoever counts on this thread can count on it
            except BaseException:
                self._threads.discard(thread)
                if self._limit is not None and self._threads:
                    return  # another thread comes to it
                self._queue.remove(job)
                raise

    def withdraw(self, job: Job) -> bool:
        """Take back a job that has not begun; False when it is too late for that."""
        with self._changed:
            if job not in self._queue:
                return False
            self._queue.remove(job)
            return True

    def close(self) -> None:
        """Keep no idle threads from now on; jobs that were submitted are done all the same."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def join(self) -> None:
        """Wait for the threads that are there now, except the calling one."""
        with self._changed:
            threads = [*self._threads]
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join()

    # -- inside a thread

    def _work(self) -> None:
        while (job := self._next()) is not None:
            try:
                job()
            except BaseException:  # the next job must not pay for it
                with suppress(Exception):  # nor for a log that cannot be written
                    log.critical("lastword.worker.fault", exc_info=True)

    def _next(self) -> Job | None:
        until = monotonic() + _LINGER_SECONDS
        with self._changed:
            if threading.current_thread() not in self._threads:
                return None  # the job forked, and this is the child
            while not self._queue:
                if self._is_closed or self._idle >= _LINGERING or not _may_linger(until):
                    self._threads.discard(threading.current_thread())
                    return None
                self._idle += 1
                self._changed.wait(_EXIT_CHECK_SECONDS)
                self._idle -= 1
            return self._queue.popleft()


def _may_linger(until: float) -> bool:
    """The main thread counts as dead once the process waits for its other threads to end."""
    return monotonic() < until and threading.main_thread().is_alive()

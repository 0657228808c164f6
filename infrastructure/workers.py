"""Threads for jobs, first come first served."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from .logs import get_logger

log = get_logger("lastword.workers")

Job = Callable[[], None]


class Workers:
    """Runs each job in a thread; at most `limit` at once, None: as many as there are jobs.

    The threads are not daemons: a process that exits normally waits for them, as it does for `concurrent.futures`.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._queue: deque[Job] = deque()
        self._threads: set[threading.Thread] = set()

    def submit(self, job: Job) -> None:
        """Run the job as soon as there is a place. Raises what starting a thread raises; then the job will not run."""
        with self._lock:
            self._queue.append(job)
            if self._limit is not None and len(self._threads) >= self._limit:
                return
            thread = threading.Thread(target=self._work, name="lastword-worker", daemon=False)
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
        with self._lock:
            if job not in self._queue:
                return False
            self._queue.remove(job)
            return True

    def join(self) -> None:
        """Wait for the threads that are there now, except the calling one."""
        with self._lock:
            threads = [*self._threads]
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    self._threads.discard(threading.current_thread())
                    return
                job = self._queue.popleft()
            try:
                job()
            except BaseException:  # the next job must not pay for it
                with suppress(Exception):  # nor for a log that cannot be written
                    log.critical("lastword.worker.fault", exc_info=True)
            del job

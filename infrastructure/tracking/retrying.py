"""Transient faults: try again with exponential backoff and jitter, then once on a fresh connection."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from time import monotonic, perf_counter, sleep
from typing import TypeVar

from ...domain.errors import StoreUnavailable, VersionConflict
from ...domain.records import record
from ...projections.ports import Append, Appended, RunStore
from ..logs import get_logger
from ..telemetry.metrics import (
    APPEND_CONFLICTS,
    APPEND_DURATION,
    APPEND_RETRIES,
    count,
    observe,
)

T = TypeVar("T")

log = get_logger("lastword.retrying")


@record()
class RetryPolicy:
    """How stubborn to be. Times in seconds.

    >>> RetryPolicy(attempts=1).call(lambda: "read")
    'read'
    """

    attempts: int = 5
    """1 switches retries off."""
    base_delay: float = 0.05
    budget: float = 5.0
    """For all attempts together, the waits included: no attempt begins after it."""

    def append(
        self, store: RunStore, request: Append, attempts: int | None = None
    ) -> Appended | None:
        """Append, retrying what may pass; at the end once more on a fresh connection.

        Only `StoreUnavailable` is a fault: conflicts and broken rules are answers and go straight to the caller.
        """
        ends = monotonic() + self.budget
        try:
            return _timed(store, request)
        except StoreUnavailable as error:
            fault = error
        try:
            return self._again(partial(_timed, store, request), fault, attempts, ends)
        except StoreUnavailable as error:
            log.warning("lastword.append.fallback", run_id=request.run_id, error=str(error))
            return _timed(store, request, fresh=True)

    def call(self, action: Callable[[], T], attempts: int | None = None) -> T:
        """The action's result, retrying transient faults."""
        ends = monotonic() + self.budget
        try:
            return action()
        except StoreUnavailable as error:
            fault = error
        return self._again(action, fault, attempts, ends)

    def _again(
        self, action: Callable[[], T], fault: StoreUnavailable, attempts: int | None, ends: float
    ) -> T:
        """What to do after the first fault."""
        attempts = self.attempts if attempts is None else attempts
        failed = 0
        while True:
            failed += 1
            wait = self._wait_after(failed)
            if failed >= attempts or not fault.transient or monotonic() + wait > ends:
                raise fault
            log.debug("lastword.retry.scheduled", attempt=failed, wait=wait, error=str(fault))
            sleep(wait)
            count(APPEND_RETRIES)
            try:
                return action()
            except StoreUnavailable as error:
                fault = error

    def _wait_after(self, failed: int) -> float:
        """Doubles with each failure; the jitter keeps processes that failed together apart."""
        jitter = random.uniform(0, self.base_delay)  # noqa: S311  # nothing secret about it
        return self.base_delay * 2 ** (failed - 1) + jitter


def _timed(store: RunStore, request: Append, *, fresh: bool = False) -> Appended | None:
    began, result = perf_counter(), "refused"
    try:
        appended = store.append(request, fresh=fresh)
        result = "refused" if appended is None else "stored"
    except VersionConflict:
        result = "conflict"
        count(APPEND_CONFLICTS)
        raise
    except StoreUnavailable:
        result = "unavailable"
        raise
    else:
        return appended
    finally:
        observe(APPEND_DURATION, perf_counter() - began, result)

"""Transient faults: try again with exponential backoff and jitter, then once on a fresh connection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from ..domain.errors import StoreUnavailable
from ..projections.ports import Append, Appended, RunStore
from .logs import get_logger
from .telemetry import APPEND_RETRIES, count

T = TypeVar("T")

log = get_logger("lastword.retrying")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How stubborn to be. Times in seconds.

    >>> RetryPolicy(attempts=1).call(lambda: "read")
    'read'
    """

    attempts: int = 5
    """1 switches retries off."""
    base_delay: float = 0.05
    budget: float = 5.0
    """For all attempts together, the waits included."""

    def append(
        self, store: RunStore, request: Append, attempts: int | None = None
    ) -> Appended | None:
        """Append, retrying what may pass; at the end once more on a fresh connection.

        Only `StoreUnavailable` is a fault: conflicts and broken rules are answers and go straight to the caller.
        """
        try:
            return self.call(lambda: store.append(request), attempts)
        except StoreUnavailable as error:
            log.warning("lastword.append.fallback", run_id=request.run_id, error=str(error))
            return store.append(request, fresh=True)

    def call(self, action: Callable[[], T], attempts: int | None = None) -> T:
        """The action's result, retrying transient faults."""
        try:
            return action()
        except StoreUnavailable as error:
            attempts = self.attempts if attempts is None else attempts
            if attempts <= 1 or not error.transient:
                raise
            return self._again(action, error, attempts)

    def _again(self, action: Callable[[], T], first: StoreUnavailable, attempts: int) -> T:
        import stamina  # the happy path never pays for it

        pending: StoreUnavailable | None = first
        for attempt in stamina.retry_context(
            on=lambda error: isinstance(error, StoreUnavailable) and error.transient,
            attempts=attempts,
            timeout=self.budget,
            wait_initial=self.base_delay,
            wait_jitter=self.base_delay,
            wait_max=self.budget,
        ):
            with attempt:
                if pending is not None:  # the attempt that has failed already counts as the first
                    error, pending = pending, None
                    raise error
                count(APPEND_RETRIES)
                return action()
        raise first  # stamina re-raises before it gets here

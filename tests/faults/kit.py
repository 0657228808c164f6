"""Faults on demand around a real store: refuse, stall, or lose the answer at a named point. Nothing of this is in the product."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from lastword import StoreUnavailable
from lastword.projections.ports import RunStore

BEFORE = "before"
"""The call fails and the store never sees it."""
AFTER = "after"
"""The store does it, and the answer is lost."""


_Base: Any = object
"""So that it passes for a `RunStore`."""


class FaultyStore(_Base):
    """A store that can be told to fail. Everything else goes to the real one."""

    def __init__(self, store: RunStore) -> None:
        self.real: Any = store
        self._lock = threading.Lock()
        self._plans: dict[str, list[tuple[str, Exception]]] = {}
        self._first: dict[str, list[Callable[[], object]]] = {}
        self._down: bool | None = None
        self.calls: list[str] = []

    def fail(
        self, method: str, times: int = 1, when: str = BEFORE, error: Exception | None = None
    ) -> None:
        """The next calls of a method fail."""
        fault = error or StoreUnavailable(f"{method}: refused by the fault kit")
        with self._lock:
            self._plans.setdefault(method, []).extend([(when, fault)] * times)

    def first(self, method: str, action: Callable[[], object]) -> None:
        """Do something just before the next call of a method: what another process did in that moment."""
        with self._lock:
            self._first.setdefault(method, []).append(action)

    def go_down(self, *, transient: bool = False) -> None:
        """Every call fails until `come_back`."""
        self._down = transient

    def come_back(self) -> None:
        """Calls work again."""
        self._down = None

    def __getattr__(self, name: str) -> Any:
        target = getattr(self.real, name)
        if not callable(target) or name in {"close", "clock"}:
            return target

        def call(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                self.calls.append(name)
                plan = self._plans[name].pop(0) if self._plans.get(name) else None
                action = self._first[name].pop(0) if self._first.get(name) else None
            if action is not None:
                action()
            if self._down is not None:
                raise StoreUnavailable("the store is down", transient=self._down)
            if plan is None:
                return target(*args, **kwargs)
            when, error = plan
            if when == AFTER:
                target(*args, **kwargs)
            raise error

        return call


class MovableClock:
    """A clock that stands still until it is moved."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self.now = start

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **span: float) -> datetime:
        """Move on, e.g. ``advance(seconds=30)``; a negative span sets the clock back."""
        self.now += timedelta(**span)
        return self.now


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Return as soon as the condition holds; fail when it does not in time."""
    pause = threading.Event()
    ends = datetime.now(UTC) + timedelta(seconds=seconds)
    while not condition():
        assert datetime.now(UTC) < ends, f"expected within {seconds} s, did not happen"
        pause.wait(0.005)

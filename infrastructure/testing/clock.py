"""A clock that stands still until the test moves it."""

from __future__ import annotations

from datetime import datetime, timedelta

from ...domain.errors import InvalidInput
from ...domain.values import utc

START = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
"""What a clock shows until it is moved; also the start of histories that are made up."""


class RunClock:
    """Gives the same moment until it is moved. Pass it wherever a `clock` is asked for.

    >>> clock = RunClock()
    >>> before = clock()
    >>> _ = clock.advance(minutes=2, seconds=30)
    >>> (clock() - before).total_seconds()
    150.0
    """

    def __init__(self, start: datetime = START) -> None:
        self._now = utc(start, "start")

    def __call__(self) -> datetime:
        return self._now

    @property
    def now(self) -> datetime:
        """The moment it shows, in UTC."""
        return self._now

    def advance(
        self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0
    ) -> datetime:
        """Move it on and return the moment it shows then. Raises `InvalidInput` for a step back, or one of no length."""
        step = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        if step <= timedelta(0):
            raise InvalidInput(
                f"advance: expected a positive time such as seconds=30, found {step.total_seconds():g} s;"
                " set a clock back with set()"
            )
        self._now += step
        return self._now

    def set(self, moment: datetime) -> datetime:
        """Show this moment from now on, earlier or later. Raises `InvalidInput` for a naive one."""
        self._now = utc(moment, "moment")
        return self._now

    def __repr__(self) -> str:
        return f"RunClock({self._now.isoformat()})"

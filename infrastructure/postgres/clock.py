"""The server's clock, read from afar.

Hosts may be minutes apart, and a clock may be set while a run lasts. So nobody's wall clock counts, only that of the server: it is asked now
and then, and what has passed since is measured by a clock of this machine that nobody can set.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from psycopg import Connection

FRESH_SECONDS = 30.0
"""How long an answer of the server is good for; clocks drift by less than a millisecond in this time."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ASK = b"SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"


_BOOT: int | None = getattr(time, "CLOCK_BOOTTIME", None)


def _elapsed() -> float:
    """Seconds, those included in which the machine was suspended, where the system tells."""
    return time.monotonic() if _BOOT is None else time.clock_gettime(_BOOT)


class ServerClock:
    """Gives the server's time, aware and in UTC. It has to be set once before it is asked."""

    def __init__(self, elapsed: Callable[[], float] = _elapsed) -> None:
        self._elapsed = elapsed
        self._known: tuple[float, datetime] | None = None

    def __call__(self) -> datetime:
        """The present moment."""
        assert self._known is not None, "the store sets it when it is opened"  # noqa: S101
        asked, moment = self._known
        return moment + timedelta(seconds=self._elapsed() - asked)

    @property
    def is_fresh(self) -> bool:
        """Whether the server was asked not long ago."""
        return self._known is not None and self._elapsed() - self._known[0] < FRESH_SECONDS

    def set(self, link: Connection[tuple[object, ...]]) -> None:
        """Ask the server. It read its clock somewhere between question and answer: in the middle, for all we know."""
        before = self._elapsed()
        row = link.execute(_ASK).fetchone()
        after = self._elapsed()
        if row is not None and isinstance(row[0], int):
            self._known = ((before + after) / 2, _EPOCH + timedelta(microseconds=row[0]))

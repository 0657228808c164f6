"""The one place that reads the wall clock; everything else is given a `Clock`."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Gives the present moment, aware and in UTC."""


def now_utc() -> datetime:
    """The present moment by this machine's clock."""
    return datetime.now(UTC)

"""Questions about many runs: filters, cursors, pages."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, NamedTuple, TypeVar

from ..domain.errors import InvalidInput
from ..domain.status import RunStatus
from ..domain.values import utc
from .run_view import RunView

MAX_PAGE = 1000
"""Rows on one page at the most."""

T = TypeVar("T")


class Cursor(NamedTuple):
    """Where a page ended. Opaque to callers; new runs do not shift it.

    >>> Cursor.decode(Cursor(1_000, 7).encode())
    Cursor(created_at=1000, number=7)
    """

    created_at: int
    """Microseconds since 1970 of the last run on the page."""
    number: int
    """The store's number of that run, which orders runs created in the same microsecond."""

    def encode(self) -> str:
        """As text for a URL."""
        return (
            base64.urlsafe_b64encode(f"{self.created_at}.{self.number}".encode())
            .decode()
            .rstrip("=")
        )

    @classmethod
    def decode(cls, text: str) -> Cursor:
        """Back from text. Raises `InvalidInput`."""
        try:
            raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
            created_at, number = raw.split(".")
            return cls(int(created_at), int(number))
        except (ValueError, binascii.Error):
            raise InvalidInput(
                f"cursor: expected one that an earlier page gave, found {text!r:.60}; start without one"
            ) from None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items and the way to the next ones; iterates over its items."""

    items: tuple[T, ...]
    next_cursor: str | None = None
    """Pass it as `cursor` to get the next page; None on the last one."""

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> T:
        return self.items[index]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunQuery:
    """Which runs, newest first. Fields that are None do not filter.

    Raises `InvalidInput` when made with a limit outside 1 to 1,000, a naive time, or a broken cursor.

    >>> RunQuery(limit=10).limit
    10
    """

    statuses: frozenset[RunStatus] | None = None
    name: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    """All of them must match."""
    since: datetime | None = None
    """Created at or after."""
    until: datetime | None = None
    """Created before."""
    limit: int = 50
    cursor: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.limit, bool) or not 1 <= self.limit <= MAX_PAGE:
            raise InvalidInput(
                f"limit: expected 1 to {MAX_PAGE:,}, found {self.limit}; follow the cursor for more"
            )
        for what in ("since", "until"):
            moment = getattr(self, what)
            if moment is not None:
                object.__setattr__(self, what, utc(moment, what))
        if self.cursor is not None:
            Cursor.decode(self.cursor)

    @property
    def after(self) -> Cursor | None:
        """The cursor, decoded."""
        return None if self.cursor is None else Cursor.decode(self.cursor)


def statuses_of(
    value: RunStatus | str | Iterable[RunStatus | str] | None,
) -> frozenset[RunStatus] | None:
    """One status, several, or None, as a set. Raises `InvalidInput` for a word that is no status.

    >>> statuses_of("failed")
    frozenset({<RunStatus.FAILED: 'failed'>})
    """
    if value is None:
        return None
    words = [value] if isinstance(value, str) else list(value)
    try:
        return frozenset(RunStatus(word) for word in words)
    except ValueError:
        known = ", ".join(RunStatus)
        raise InvalidInput(f"status: expected one of {known}, found {words!r:.80}") from None


def matches(view: RunView, query: RunQuery) -> bool:
    """Whether the run is one that the query asks for, cursor and limit aside; what every store must agree with."""
    return (
        (query.statuses is None or view.status in query.statuses)
        and (query.name is None or view.name == query.name)
        and all(view.tags.get(key) == value for key, value in query.tags.items())
        and (query.since is None or view.created_at >= query.since)
        and (query.until is None or view.created_at < query.until)
    )

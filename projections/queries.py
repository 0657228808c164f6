"""Questions about many runs: filters, cursors, pages."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Generic, NamedTuple, TypeVar

from ..domain.errors import InvalidInput
from ..domain.records import record
from ..domain.status import RunStatus
from ..domain.values import shown, tags_of, text_of, utc
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
            return cls(_countable(created_at), _countable(number))
        except (TypeError, ValueError):
            raise InvalidInput(
                f"cursor: expected one that an earlier page gave, found {shown(text)}; start without one"
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


@record(kw_only=True)
class RunQuery:
    """Which runs, newest first. Fields that are None do not filter.

    Raises `InvalidInput` when made with a limit outside 1 to 1,000, a naive time, a broken cursor, or a name or tags
    that no run can have.

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
        whole = isinstance(self.limit, int) and not isinstance(self.limit, bool)  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may be untyped
        if not whole or not 1 <= self.limit <= MAX_PAGE:
            raise InvalidInput(
                f"limit: expected 1 to {MAX_PAGE:,}, found {shown(self.limit)}; follow the cursor for more"
            )
        if self.name is not None:
            text_of(self.name, "name")
        object.__setattr__(self, "tags", tags_of(self.tags))
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


MAX_STRETCHES = 1000
"""Stretches in one tally at the most."""


@record(kw_only=True)
class TallyQuery:
    """Which runs are counted, by when they were created: the numbers behind a chart.

    Raises `InvalidInput` when made with a naive time, a stretch that is not positive, more than 1,000 stretches, or a name that no
    run can have.
    """

    since: datetime
    """Where the first stretch begins."""
    stretch: timedelta
    """How long each one is."""
    stretches: int
    """How many there are."""
    name: str | None = None
    """Only runs of this name."""
    limit: int = 50_000
    """Of each status so many runs are counted at the most, the newest ones; what a tally costs does not grow with the store."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "since", utc(self.since, "since"))
        if self.stretch <= timedelta(0):
            raise InvalidInput(
                f"stretch: expected a positive timedelta, found {shown(self.stretch)}"
            )
        if not 1 <= self.stretches <= MAX_STRETCHES or self.limit < 1:
            raise InvalidInput(
                f"tally: expected 1 to {MAX_STRETCHES:,} stretches and a limit of 1 or more,"
                f" found {shown(self.stretches)} and {shown(self.limit)}"
            )
        if self.name is not None:
            text_of(self.name, "name")

    @property
    def until(self) -> datetime:
        """Where the last stretch ends."""
        return self.since + self.stretches * self.stretch


@record()
class Tally:
    """How many runs were created in each stretch of time, by the status that they have now."""

    query: TallyQuery
    numbers: tuple[Mapping[RunStatus, int], ...]
    """One for each stretch, oldest first; a status without runs is not in it."""
    capped: frozenset[RunStatus]
    """Of these the limit was reached: there may be more runs, and the numbers of the oldest stretches may be too small."""

    @classmethod
    def of(cls, query: TallyQuery, counted: Iterable[tuple[int, RunStatus, int]]) -> Tally:
        """From what a store counted: number of the stretch, status, runs.

        >>> from datetime import UTC
        >>> query = TallyQuery(since=datetime(2026, 2, 5, tzinfo=UTC), stretch=timedelta(hours=1), stretches=2, limit=9)
        >>> tally = Tally.of(query, [(1, RunStatus.FAILED, 9)])
        >>> tally.numbers[1][RunStatus.FAILED], RunStatus.FAILED in tally.capped
        (9, True)
        """
        numbers: list[dict[RunStatus, int]] = [{} for _ in range(query.stretches)]
        totals = dict.fromkeys(RunStatus, 0)
        for stretch, status, runs in counted:
            numbers[stretch][status] = runs
            totals[status] += runs
        capped = frozenset(status for status in RunStatus if totals[status] >= query.limit)
        return cls(query, tuple(numbers), capped)


def _countable(text: str) -> int:
    number = int(text)
    if number.bit_length() > 63:
        raise ValueError("more than a store can count")
    return number


def statuses_of(
    value: RunStatus | str | Iterable[RunStatus | str] | None,
) -> frozenset[RunStatus] | None:
    """One status, several, or None, as a set. Raises `InvalidInput` for a word that is no status.

    >>> statuses_of("failed")
    frozenset({<RunStatus.FAILED: 'failed'>})
    """
    if value is None:
        return None
    try:
        return frozenset(RunStatus(word) for word in ([value] if isinstance(value, str) else value))
    except (TypeError, ValueError):
        known = ", ".join(RunStatus)
        raise InvalidInput(f"status: expected one of {known}, found {shown(value)}") from None


def matches(view: RunView, query: RunQuery) -> bool:
    """Whether the run is one that the query asks for, cursor and limit aside; what every store must agree with."""
    return (
        (query.statuses is None or view.status in query.statuses)
        and (query.name is None or view.name == query.name)
        and all(view.tags.get(key) == value for key, value in query.tags.items())
        and (query.since is None or view.created_at >= query.since)
        and (query.until is None or view.created_at < query.until)
    )

"""What the address bar asks for: which runs, and where the page begins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import urlencode

from ....domain.errors import InvalidInput
from ....domain.status import ACTIVE, RunStatus
from ....domain.values import shown, tags_of, text_of
from ....projections.queries import Cursor, statuses_of
from ...inputs import moment_of, pairs_of

T = TypeVar("T")

PAGE_SIZE = 50
"""Runs on one page of the list."""

_FLAGGED = {"1": True, "true": True, "0": False, "false": False}
_LONGEST = 2_000
"""Characters of one value that are looked at; a name, a tag or a time that a run can have is shorter."""


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters of the list, as they were typed and as they are meant.

    A value that makes no sense is in `problems`, under the field's name, and does not filter.
    """

    statuses: tuple[RunStatus, ...] = ()
    """In the order of a life; empty: all."""
    name: str = ""
    flagged: bool | None = None
    tag: str = ""
    """As it was typed: ``team=data``, or several with spaces between."""
    since: str = ""
    """As it was typed: ``2h`` or a time with its zone."""
    until: str = ""
    cursor: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    since_at: datetime | None = None
    until_at: datetime | None = None
    problems: Mapping[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def of(cls, items: Iterable[tuple[str, str]], now: datetime) -> Filters:
        """From the pairs of a query string. Names that are no filter are passed over.

        >>> from datetime import UTC
        >>> Filters.of([("status", "failed"), ("since", "2h")], datetime(2026, 2, 5, 12, tzinfo=UTC)).since_at.isoformat()
        '2026-02-05T10:00:00+00:00'
        """
        given: dict[str, list[str]] = {}
        for key, value in items:
            if value := value.strip()[:_LONGEST]:
                given.setdefault(key, []).append(value)
        problems: dict[str, str] = {}

        def read(what: str, how: Callable[[], T], otherwise: T) -> T:
            try:
                return how()
            except InvalidInput as error:
                problems[what] = str(error)
                return otherwise

        name, since, until = (given.get(key, [""])[0] for key in ("name", "since", "until"))
        tag = " ".join(given.get("tag", ()))
        cursor = given.get("cursor", [None])[0]
        statuses = read("status", lambda: statuses_of(given.get("status")), None) or frozenset()
        return cls(
            statuses=tuple(status for status in RunStatus if status in statuses),
            name=name if read("name", lambda: text_of(name, "name"), "") else "",
            flagged=read("flagged", lambda: _flagged(given.get("flagged", [""])[0]), None),
            tag=tag,
            since=since,
            until=until,
            cursor=read("cursor", lambda: cursor and Cursor.decode(cursor) and cursor, None),
            tags=read("tag", lambda: _tags(given.get("tag", ())), {}),
            since_at=read("since", lambda: _moment(since, "since", now), None),
            until_at=read("until", lambda: _moment(until, "until", now), None),
            problems=problems,
        )

    @property
    def are_set(self) -> bool:
        """Whether anything is filtered; the cursor is no filter."""
        return bool(self.query(cursor=None))

    @property
    def arguments(self) -> dict[str, Any]:
        """What `RunTracker.list` takes."""
        return {
            "status": self.statuses or None,
            "name": self.name or None,
            "flagged": self.flagged,
            "tags": self.tags,
            "since": self.since_at,
            "until": self.until_at,
            "limit": PAGE_SIZE,
            "cursor": self.cursor,
        }

    def query(self, **changes: Any) -> str:
        """The query string, question mark included, of these filters with some fields changed; empty where nothing is set.

        >>> Filters(name="a&b", statuses=(RunStatus.FAILED,)).query(name="c d", cursor="x")
        '?status=failed&name=c+d&cursor=x'
        """
        fields = {
            "status": [status.value for status in self.statuses],
            "flagged": self.flagged,
            "name": self.name,
            "tag": self.tag,
            "since": self.since,
            "until": self.until,
            "cursor": self.cursor,
        } | changes
        pairs: list[tuple[str, str]] = []
        for key, value in fields.items():
            if isinstance(value, bool):
                pairs.append((key, "1" if value else "0"))
            elif isinstance(value, list | tuple):
                pairs += [(key, str(item)) for item in value]
            elif value:
                pairs.append((key, str(value)))
        return "?" + urlencode(pairs) if pairs else ""

    def within(self, since: datetime, length: timedelta) -> str:
        """The query string for the runs of a stretch of time, whatever the address bar says of times."""
        return self.query(since=_iso(since), until=_iso(since + length), cursor=None)

    @property
    def only_ended(self) -> bool:
        """Whether only runs with a last word are asked for."""
        return bool(self.statuses) and not ACTIVE & set(self.statuses)


def _flagged(text: str) -> bool | None:
    if not text:
        return None
    if text.lower() not in _FLAGGED:
        raise InvalidInput(f"flagged: expected 1 or 0, found {shown(text)}")
    return _FLAGGED[text.lower()]


def _moment(text: str, what: str, now: datetime) -> datetime | None:
    return moment_of(text, what, now) if text else None


def _tags(texts: Iterable[str]) -> dict[str, str]:
    """Each value is one tag; where every word of it is a pair of its own, it is several."""
    pairs: list[str] = []
    for text in texts:
        words = text.split()
        pairs += words if all("=" in word for word in words) else [text]
    return tags_of(pairs_of(pairs, "tag"))


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="minutes").replace("+00:00", "Z")

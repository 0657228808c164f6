"""Questions about many runs, as SQL that an index answers; written as SQLite reads it.

There is no index on the time of creation alone. Each status has its own stretch of an index that ends with the time, and a
page is merged from the first rows of each stretch, so that a page costs the same whatever is filtered and however many
runs there are.

Each filter is a *stream* of runs in the order of pages: a tag is one, and status and name together are one. Where several must hold, no index
has their meeting; `paging` walks along the sparsest of them and looks the others up.
"""

# ruff: noqa: S608  # statements are put together from names of our own; values are always bound
from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Protocol

from ...domain.records import record
from ...domain.status import ACTIVE, RunStatus
from ...domain.values import to_micros
from ...projections.queries import Cursor, RunQuery, TallyQuery
from .columns import ROW_COLUMNS, SELECT_VIEW
from .suspecting import Suspects

Statement = tuple[str, list[Any]]

_INDEXED_TOPICS = ("RunCompleted", "RunFailed", "RunCancelled", "RunLost")
"""The topics that the index `events_last_words` covers."""

_BEYOND = "\U0010ffff"
"""Sorts behind every character that an id may hold."""


def page(
    query: RunQuery,
    after: Cursor | None,
    limit: int,
    suspects: Suspects | None = None,
    down_to: Cursor | None = None,
) -> Statement | None:
    """Rows of `SELECT_VIEW` for one page of a query with one stream, newest first; None when nothing can match."""
    if query.statuses is not None and not query.statuses:
        return None
    (stream,) = streams(query, suspects)
    inner, parameters = stream.rows(query, after, down_to, limit)
    return _views(inner), parameters


def reach(stream: Stream, query: RunQuery, after: Cursor | None, entries: int) -> Statement:
    """Time and number of the entry that a stream comes to after so many; no row when it ends before. Reads an index alone."""
    inner, parameters = stream.rows(query, after, None, entries)
    return f"SELECT created_at, number FROM ({inner}) AS walked LIMIT 1 OFFSET ?", [
        *parameters,
        entries - 1,
    ]


def meeting(
    walked: Stream,
    others: Sequence[Stream],
    query: RunQuery,
    after: Cursor | None,
    down_to: Cursor | None,
    limit: int,
) -> Statement:
    """Rows of `SELECT_VIEW` for runs that are in all of the streams, newest first: one is walked, down to a place, the others are looked up."""
    inner, parameters = walked.rows(query, after, down_to, None)
    conditions: list[str] = []
    for other in others:
        condition, values = other.holds(query)
        conditions.append(condition)
        parameters += values
    chosen = (
        f"SELECT number, created_at FROM ({inner}) AS walked WHERE {' AND '.join(conditions)}"
        " ORDER BY created_at DESC, number DESC LIMIT ?"
    )
    return _views(chosen), [*parameters, limit]


def _views(chosen: str) -> str:
    return f"""
    WITH page AS ({chosen})
    {SELECT_VIEW.replace("FROM runs r", "FROM page CROSS JOIN runs r ON r.number = page.number")}
    ORDER BY page.created_at DESC, page.number DESC
    """  # values are bound


def streams(query: RunQuery, suspects: Suspects | None = None) -> list[Stream]:
    """One for each tag, and one for status and name, if they are asked for or nothing else is.

    With suspects the query has statuses, and each of them conditions.
    """
    found: list[Stream] = [TagStream(key, value) for key, value in query.tags.items()]
    if not found or query.statuses is not None or query.name is not None:
        found.append(RunStream(suspects))
    return found


def active(after: Cursor | None, limit: int, suspects: Suspects | None = None) -> Statement:
    """Rows of `SELECT_VIEW` for runs without a last word, oldest first; only of suspects, if there are any given."""
    stretches: list[str] = []
    parameters: list[Any] = []
    for status in sorted(ACTIVE if suspects is None else suspects.statuses):
        behind = "" if after is None else " AND (created_at, number) > (?, ?)"
        suspect, values = _suspect(suspects, status)
        stretches.append(
            f"SELECT * FROM (SELECT number, created_at FROM runs WHERE status = '{status.value}'"
            f"{behind}{suspect} ORDER BY created_at, number LIMIT ?) AS subquery"
        )
        parameters += [*(after or ()), *values, limit]
    statement = f"""
    WITH page AS ({" UNION ALL ".join(stretches)} ORDER BY created_at, number LIMIT ?)
    {SELECT_VIEW.replace("FROM runs r", "FROM page CROSS JOIN runs r ON r.number = page.number")}
    ORDER BY page.created_at, page.number
    """  # values are bound
    return statement, [*parameters, limit]


def newest_running(after: Cursor | None, entries: int) -> Statement:
    """Time and number of the running run that comes after so many of them, newest first; no row when there are fewer. Reads an index alone."""
    behind = "" if after is None else " AND (created_at, number) < (?, ?)"
    return (
        f"SELECT created_at, number FROM runs WHERE status = 'running'{behind}"
        " ORDER BY created_at DESC, number DESC LIMIT 1 OFFSET ?"
    ), [*(after or ()), entries - 1]


def tally(query: TallyQuery) -> Statement:
    """Number of the stretch, status, and how many runs were created in it. Reads nothing but an index, from its newest end."""
    since = to_micros(query.since)
    stretches: list[str] = []
    parameters: list[Any] = []
    named = "" if query.name is None else "name = ? AND "
    for status in sorted(RunStatus):
        stretches.append(
            f"SELECT (created_at - ?) / ? AS stretch, '{status.value}', count(*) FROM ("
            f"SELECT created_at FROM runs WHERE {named}status = '{status.value}' AND created_at >= ? AND created_at < ?"
            " ORDER BY created_at DESC LIMIT ?) AS subquery GROUP BY stretch"
        )
        parameters += [
            since,
            query.stretch // timedelta(microseconds=1),
            *([] if query.name is None else [query.name]),
            since,
            to_micros(query.until),
            query.limit,
        ]
    return " UNION ALL ".join(stretches), parameters


def position_of(row: Sequence[Any]) -> Cursor:
    """Where a row of `SELECT_VIEW` stands in the order of pages."""
    return Cursor(row[_CREATED_AT], row[0])


_CREATED_AT = ROW_COLUMNS.index("created_at")


def begins_with(fragment: str, limit: int) -> Statement:
    """Keys that begin with the fragment, in order: a stretch of the log's index, by way of each run's first event."""
    statement = (
        "SELECT r.run_key, r.int_id FROM events e CROSS JOIN runs r ON r.number = e.position"
        " WHERE e.originator_id >= ? AND e.originator_id < ? AND e.originator_version = 1 ORDER BY e.originator_id LIMIT ?"
    )
    return statement, [fragment, fragment + _BEYOND, limit]


def ends_with(fragment: str, limit: int) -> Statement:
    """Keys that end with the fragment and do not begin with it, in order. Reads all keys."""
    statement = (
        "SELECT run_key, int_id FROM runs WHERE length(run_key) >= ? AND substr(run_key, length(run_key) - ? + 1) = ?"
        " AND substr(run_key, 1, ?) <> ? ORDER BY run_key LIMIT ?"
    )
    size = len(fragment)
    return statement, [size, size, fragment, size, fragment, limit]


def feed(select: str, after: int, limit: int, topics: Sequence[str]) -> Statement:
    """Events behind a position; last words come from an index of their own, so that progress is not read for them."""
    wanted = sorted(set(topics))
    source, covered = "", ""
    if wanted and set(wanted) <= set(_INDEXED_TOPICS):
        source = " INDEXED BY events_last_words"
        covered = f" AND topic IN ({', '.join(map(repr, _INDEXED_TOPICS))})"
    chosen = f" AND topic IN ({', '.join('?' * len(wanted))})" if wanted else ""
    if set(wanted) == set(_INDEXED_TOPICS):
        chosen, wanted = "", []
    return (
        f"{select.rstrip()}{source} WHERE position > ?{covered}{chosen} ORDER BY position LIMIT ?",
        [after, *wanted, limit],
    )


class Stream(Protocol):
    """Runs that one filter lets through."""

    def rows(
        self, query: RunQuery, after: Cursor | None, down_to: Cursor | None, limit: int | None
    ) -> Statement:
        """`number` and `created_at`, newest first, from an index alone."""
        ...

    def holds(self, query: RunQuery) -> Statement:
        """A condition on a row ``walked`` that has both: it is in this stream, too."""
        ...


@record()
class TagStream:
    """Runs with a tag."""

    key: str
    value: str

    def rows(
        self, query: RunQuery, after: Cursor | None, down_to: Cursor | None, limit: int | None
    ) -> Statement:
        """See `Stream`."""
        conditions, parameters = _bounds(query, after, down_to)
        statement = (
            f"SELECT number, created_at FROM run_tags WHERE {' AND '.join(['key = ?', 'value = ?', *conditions])}"
            f" ORDER BY created_at DESC, number DESC{_limit(limit)}"
        )
        return statement, [self.key, self.value, *parameters, *_given(limit)]

    def holds(self, query: RunQuery) -> Statement:
        """See `Stream`."""
        condition = (
            "EXISTS (SELECT 1 FROM run_tags t WHERE t.key = ? AND t.value = ?"
            " AND t.created_at = walked.created_at AND t.number = walked.number)"
        )
        return condition, [self.key, self.value]


@record()
class RunStream:
    """Runs with one of the statuses and the name of the query: merged from one stretch of an index for each status."""

    suspects: Suspects | None = None
    """If they are given, only those."""

    def rows(
        self, query: RunQuery, after: Cursor | None, down_to: Cursor | None, limit: int | None
    ) -> Statement:
        """See `Stream`."""
        bounds, values = _bounds(query, after, down_to)
        if query.name is not None:
            bounds, values = ["name = ?", *bounds], [query.name, *values]
        order = f"ORDER BY created_at DESC, number DESC{_limit(limit)}"
        stretches: list[str] = []
        parameters: list[Any] = []
        for status in sorted(RunStatus if query.statuses is None else query.statuses):
            conditions = " AND ".join([f"status = '{status.value}'", *bounds])
            suspect, more = _suspect(self.suspects, status)
            stretches.append(
                f"SELECT * FROM (SELECT number, created_at FROM runs WHERE {conditions}{suspect} {order}) AS subquery"
            )
            parameters += [*values, *more, *_given(limit)]
        return f"{' UNION ALL '.join(stretches)} {order}", [*parameters, *_given(limit)]

    def holds(self, query: RunQuery) -> Statement:
        """See `Stream`."""
        conditions, parameters = ["r.number = walked.number"], list[Any]()
        if query.statuses is not None:
            words = ", ".join(f"'{status.value}'" for status in sorted(query.statuses))
            conditions.append(f"r.status IN ({words})")
        if query.name is not None:
            conditions.append("r.name = ?")
            parameters.append(query.name)
        if self.suspects is not None:
            among: list[str] = []
            for status in sorted(self.suspects.statuses):
                suspect, values = _suspect(self.suspects, status)
                among.append(f"r.status = '{status.value}'{suspect}")
                parameters += values
            conditions.append(f"({' OR '.join(among)})")
        return f"EXISTS (SELECT 1 FROM runs r WHERE {' AND '.join(conditions)})", parameters


def _suspect(suspects: Suspects | None, status: RunStatus) -> Statement:
    """What else a row of the status must fulfil, behind other conditions."""
    if suspects is None:
        return "", []
    condition, values = suspects.conditions[status]
    return f" AND {condition}", values


def _limit(limit: int | None) -> str:
    return "" if limit is None else " LIMIT ?"


def _given(limit: int | None) -> list[Any]:
    return [] if limit is None else [limit]


def _bounds(
    query: RunQuery, after: Cursor | None, down_to: Cursor | None
) -> tuple[list[str], list[Any]]:
    conditions: list[str] = []
    parameters: list[Any] = []
    if query.since is not None:
        conditions.append("created_at >= ?")
        parameters.append(to_micros(query.since))
    if query.until is not None:
        conditions.append("created_at < ?")
        parameters.append(to_micros(query.until))
    if after is not None:
        conditions.append("(created_at, number) < (?, ?)")
        parameters += [after.created_at, after.number]
    if down_to is not None:
        conditions.append("(created_at, number) >= (?, ?)")
        parameters += [down_to.created_at, down_to.number]
    return conditions, parameters

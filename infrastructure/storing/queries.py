"""Questions about many runs, as SQL that an index answers; written as SQLite reads it.

There is no index on the time of creation alone. Each status has its own stretch of an index that ends with the time, and a
page is merged from the first rows of each stretch, so that a page costs the same whatever is filtered and however many
runs there are.
"""

# ruff: noqa: S608  # statements are put together from names of our own; values are always bound
from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from ...domain.status import ACTIVE, RunStatus
from ...domain.values import to_micros
from ...projections.queries import Cursor, RunQuery, TallyQuery
from .rows import ROW_COLUMNS, SELECT_VIEW

Statement = tuple[str, list[Any]]

_INDEXED_TOPICS = ("RunCompleted", "RunFailed", "RunCancelled", "RunLost")
"""The topics that the index `events_last_words` covers."""

_BEYOND = "\U0010ffff"
"""Sorts behind every character that an id may hold."""


def page(query: RunQuery, after: Cursor | None, limit: int) -> Statement | None:
    """Rows of `SELECT_VIEW` for one page, newest first; None when nothing can match."""
    statuses = sorted(RunStatus) if query.statuses is None else sorted(query.statuses)
    if not statuses:
        return None
    stretches: list[str] = []
    parameters: list[Any] = []
    if query.tags:
        statement, values = _tagged(query, after, limit)
        stretches, parameters = [statement], values
    else:
        for status in statuses:
            statement, values = _stretch(status, query, after, limit)
            stretches.append(statement)
            parameters += values
    merged = " UNION ALL ".join(f"SELECT * FROM ({stretch}) AS subquery" for stretch in stretches)
    statement = f"""
    WITH page AS ({merged} ORDER BY created_at DESC, number DESC LIMIT ?)
    {SELECT_VIEW.replace("FROM runs r", "FROM page CROSS JOIN runs r ON r.number = page.number")}
    ORDER BY page.created_at DESC, page.number DESC
    """  # values are bound
    return statement, [*parameters, limit]


def active(after: Cursor | None, limit: int) -> Statement:
    """Rows of `SELECT_VIEW` for runs without a last word, oldest first."""
    stretches: list[str] = []
    parameters: list[Any] = []
    for status in sorted(ACTIVE):
        behind = "" if after is None else " AND (created_at, number) > (?, ?)"
        stretches.append(
            "SELECT * FROM (SELECT number, created_at FROM runs WHERE status = ?"
            f"{behind} ORDER BY created_at, number LIMIT ?) AS subquery"
        )
        parameters += [status.value, *(after or ()), limit]
    statement = f"""
    WITH page AS ({" UNION ALL ".join(stretches)} ORDER BY created_at, number LIMIT ?)
    {SELECT_VIEW.replace("FROM runs r", "FROM page CROSS JOIN runs r ON r.number = page.number")}
    ORDER BY page.created_at, page.number
    """  # values are bound
    return statement, [*parameters, limit]


def tally(query: TallyQuery) -> Statement:
    """Number of the stretch, status, and how many runs were created in it. Reads nothing but an index, from its newest end."""
    since = to_micros(query.since)
    stretches: list[str] = []
    parameters: list[Any] = []
    named = "" if query.name is None else "name = ? AND "
    for status in sorted(RunStatus):
        stretches.append(
            f"SELECT (created_at - ?) / ? AS stretch, '{status.value}', count(*) FROM ("
            f"SELECT created_at FROM runs WHERE {named}status = ? AND created_at >= ? AND created_at < ?"
            " ORDER BY created_at DESC LIMIT ?) AS subquery GROUP BY stretch"
        )
        parameters += [
            since,
            query.stretch // timedelta(microseconds=1),
            *([] if query.name is None else [query.name]),
            status.value,
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
    """Keys that begin with the fragment, in order."""
    return (
        "SELECT run_key, int_id FROM runs WHERE run_key >= ? AND run_key < ? ORDER BY run_key LIMIT ?",
        [fragment, fragment + _BEYOND, limit],
    )


def ends_with(fragment: str, limit: int) -> Statement:
    """Keys that end with the fragment and do not begin with it, in order. Reads the whole index."""
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


def _stretch(status: RunStatus, query: RunQuery, after: Cursor | None, limit: int) -> Statement:
    """The first rows of one status, from the index that fits."""
    conditions, parameters = ["status = ?"], [status.value]
    if query.name is not None:
        conditions.insert(0, "name = ?")
        parameters.insert(0, query.name)
    bounds, values = _bounds(query, after, "")
    statement = (
        f"SELECT number, created_at FROM runs WHERE {' AND '.join(conditions + bounds)}"
        " ORDER BY created_at DESC, number DESC LIMIT ?"
    )
    return statement, [*parameters, *values, limit]


def _tagged(query: RunQuery, after: Cursor | None, limit: int) -> Statement:
    """The first rows with all of the tags. The first tag leads; the others and the run are looked up for each of its rows."""
    (first_key, first_value), *others = query.tags.items()
    conditions, parameters = ["t.key = ?", "t.value = ?"], [first_key, first_value]
    bounds, values = _bounds(query, after, "t.")
    conditions += bounds
    parameters += values
    for key, value in others:
        conditions.append(
            "EXISTS (SELECT 1 FROM run_tags o WHERE o.key = ? AND o.value = ?"
            " AND o.created_at = t.created_at AND o.number = t.number)"
        )
        parameters += [key, value]
    runs = ""
    if query.name is not None or query.statuses is not None:
        runs = " CROSS JOIN runs r ON r.number = t.number"
    if query.name is not None:
        conditions.append("r.name = ?")
        parameters.append(query.name)
    if query.statuses is not None:
        conditions.append(f"r.status IN ({', '.join('?' * len(query.statuses))})")
        parameters += [status.value for status in query.statuses]
    statement = (
        f"SELECT t.number AS number, t.created_at AS created_at FROM run_tags t{runs} WHERE {' AND '.join(conditions)}"
        " ORDER BY t.created_at DESC, t.number DESC LIMIT ?"
    )
    return statement, [*parameters, limit]


def _bounds(query: RunQuery, after: Cursor | None, table: str) -> tuple[list[str], list[Any]]:
    conditions: list[str] = []
    parameters: list[Any] = []
    if query.since is not None:
        conditions.append(f"{table}created_at >= ?")
        parameters.append(to_micros(query.since))
    if query.until is not None:
        conditions.append(f"{table}created_at < ?")
        parameters.append(to_micros(query.until))
    if after is not None:
        conditions.append(f"({table}created_at, {table}number) < (?, ?)")
        parameters += [after.created_at, after.number]
    return conditions, parameters

"""Pages of runs from streams: one stream is read as it is; several are met along the sparsest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from ...projections.queries import Cursor, Page, RunQuery
from ...projections.run_view import RunView
from . import queries
from .suspecting import Suspects

Row = Sequence[Any]
Fetch = Callable[[str, list[Any]], list[Any]]
"""Runs a statement and gives all of its rows."""

_NEAR, _FAR = 100, 6_400
"""Entries of a stream that are walked at once, at first and at the most."""


def page_of(
    fetch: Fetch,
    view_of: Callable[[Row], RunView],
    query: RunQuery,
    keep: Callable[[RunView], bool] | None,
    suspects: Suspects | None = None,
) -> Page[RunView]:
    """See `RunStore.query`."""
    found: list[RunView] = []
    last: Row = ()
    if suspects is not None:
        wanted = suspects.statuses
        query = replace(
            query, statuses=wanted if query.statuses is None else wanted & query.statuses
        )
    for rows in matching(fetch, query, query.limit + 1, suspects):
        for row in rows:
            view = view_of(row)
            if keep is not None and not keep(view):
                continue
            if len(found) == query.limit:
                return Page(tuple(found), queries.position_of(last).encode())
            found.append(view)
            last = row
    return Page(tuple(found))


def matching(
    fetch: Fetch, query: RunQuery, size: int, suspects: Suspects | None = None
) -> Iterator[list[Row]]:
    """Rows of `SELECT_VIEW` that the query asks for, newest first, up to `size` at a time; its limit is not looked at.

    With several streams, each step asks how far back each of them comes with so many entries, and walks down the one that comes farthest: it
    has the fewest runs there. So a page costs no more than the rarest of its filters has runs, and no more than the page where filters often
    meet. Only filters that are all common and never meet cost time with the size of the store: half a second for a million runs.
    """
    streams = queries.streams(query, suspects)
    after = query.after
    if len(streams) > 1:
        yield from _meeting(fetch, query, streams, size)
        return
    while statement := queries.page(query, after, size, suspects):
        rows = fetch(*statement)
        yield rows
        if len(rows) < size:
            return
        after = queries.position_of(rows[-1])


def _meeting(
    fetch: Fetch, query: RunQuery, streams: list[queries.Stream], size: int
) -> Iterator[list[Row]]:
    if query.statuses is not None and not query.statuses:
        return
    after, entries, left = query.after, _NEAR, size
    while True:
        walked, end = _sparsest(fetch, query, streams, after, entries)
        others = [stream for stream in streams if stream is not walked]
        rows = fetch(*queries.meeting(walked, others, query, after, end, left))
        yield rows
        if len(rows) == left:
            after, left = queries.position_of(rows[-1]), size
            continue
        left -= len(rows)
        if end is None:
            return
        after, entries = end, min(entries * 4, _FAR)


def _sparsest(
    fetch: Fetch,
    query: RunQuery,
    streams: list[queries.Stream],
    after: Cursor | None,
    entries: int,
) -> tuple[queries.Stream, Cursor | None]:
    """The stream whose next entries reach farthest back, and how far; None: to its end."""
    best: tuple[queries.Stream, Cursor] | None = None
    for stream in streams:
        found = fetch(*queries.reach(stream, query, after, entries))
        if not found:
            return stream, None
        place = Cursor(*found[0])
        if best is None or place < best[1]:
            best = stream, place
    assert best is not None  # noqa: S101  # there are streams
    return best

"""Pages of runs from streams: one stream is read as it is; several are met along the sparsest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from ...domain.status import RunStatus
from ...projections.queries import Cursor, Page, RunQuery
from ...projections.run_view import RunView
from . import queries
from .suspecting import Suspects

Row = Sequence[Any]
Fetch = Callable[[str, list[Any]], list[Any]]
"""Runs a statement and gives all of its rows."""

_NEAR, _FAR = 100, 6_400
"""Entries of a stream that are walked at once, at first and at the least, and at the most."""


def page_of(
    batches: Iterable[Sequence[Row]],
    view_of: Callable[[Row], RunView],
    limit: int,
    keep: Callable[[RunView], bool] | None,
) -> Page[RunView]:
    """A page of those runs that `keep` accepts; see `RunStore.query`."""
    found: list[RunView] = []
    last: Row = ()
    for rows in batches:
        for row in rows:
            view = view_of(row)
            if keep is not None and not keep(view):
                continue
            if len(found) == limit:
                return Page(tuple(found), queries.position_of(last).encode())
            found.append(view)
            last = row
    return Page(tuple(found))


def suspected(
    fetch: Fetch,
    query: RunQuery,
    suspects: Callable[[Cursor | None, Cursor | None], Suspects],
    *,
    looks_near: bool,
) -> Iterator[list[Row]]:
    """As `matching`, but only of `suspects`, which are given for the runs behind one place, down to another.

    To know them, all running runs are read. Who `looks_near` asks about the newest of them first: if they are flagged, they fill the page.
    """
    size, after, known = query.limit + 1, query.after, query.after
    if looks_near and not query.tags and (found := fetch(*queries.newest_running(after, size))):
        known = Cursor(*found[0])
        near = suspects(after, known)
        if RunStatus.RUNNING in near.statuses:
            yield from matching(fetch, _among(query, near), size, near, after, known)
            after = known
    far = suspects(known, None)
    yield from matching(fetch, _among(query, far), size, far, after)


def _among(query: RunQuery, suspects: Suspects) -> RunQuery:
    wanted = suspects.statuses
    return replace(query, statuses=wanted if query.statuses is None else wanted & query.statuses)


def matching(
    fetch: Fetch,
    query: RunQuery,
    size: int,
    suspects: Suspects | None = None,
    after: Cursor | None = None,
    down_to: Cursor | None = None,
) -> Iterator[list[Row]]:
    """Rows of `SELECT_VIEW` that the query asks for, newest first, up to `size` at a time; its limit is not looked at.

    With one stream they may begin behind another place than the query's, and end at one, which is included.

    With several streams, each step asks how far back each of them comes with so many entries, and walks down the one that comes farthest: it
    has the fewest runs there. So a page costs no more than the rarest of its filters has runs, and no more than the page where filters often
    meet. Only filters that are all common and never meet cost time with the size of the store: half a second for a million runs.
    """
    streams = queries.streams(query, suspects)
    if len(streams) > 1:
        yield from _meeting(fetch, query, streams, size)
        return
    after = after or query.after
    while statement := queries.page(query, after, size, suspects, down_to):
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
    passed = met = 0
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
        passed, met = passed + entries, met + len(rows)
        expected = left * passed // met if met else _FAR  # entries to the last row that is wanted
        after, entries = end, max(_NEAR, min(2 * expected, 8 * entries, _FAR))


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

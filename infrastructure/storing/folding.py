"""From events as they lie in a store to the views of their runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from ...projections.run_view import RunView, apply
from ..mapper import recorded_event


def folded(rows: Iterable[Sequence[Any]]) -> Iterator[tuple[int, RunView]]:
    """The number and the view of each run; the rows are in order of run and version."""
    for _, events in groupby(rows, key=lambda row: row[1]):
        view: RunView | None = None
        number = 0
        for row in events:
            if view is None:
                number = row[0]
            view = apply(view, recorded_event(row))
        if view is not None:
            yield number, view

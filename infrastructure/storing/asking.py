"""What every store answers from its rows, once it can fetch them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ...domain.status import RunStatus
from ...domain.values import RunId
from ...projections.flags import Suspicion
from ...projections.queries import Cursor, Page, RunQuery, Tally, TallyQuery
from ...projections.run_view import RunView
from . import queries
from .paging import matching, page_of, suspected
from .rows import id_of
from .suspecting import Suspects, at_work, suspects_of

_ACTIVE_BATCH = 500


class AskedStore(ABC):
    """See `RunStore` for what each method promises."""

    _looks_near = False
    """Whether the newest running runs are asked about before all of them: it pays where a statement costs little more than its rows."""

    @abstractmethod
    def _fetch(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """All rows of a statement. Raises `StoreUnavailable`, `StoreCorrupt`."""

    @abstractmethod
    def _view(self, row: Sequence[Any]) -> RunView:
        """The view in a row of `SELECT_VIEW`. Raises `StoreCorrupt`."""

    def query(
        self,
        query: RunQuery,
        keep: Callable[[RunView], bool] | None = None,
        suspicion: Suspicion | None = None,
    ) -> Page[RunView]:
        """See `RunStore.query`."""
        if suspicion is None:
            rows = matching(self._fetch, query, query.limit + 1)
        else:
            rows = suspected(
                self._fetch,
                query,
                lambda after, down_to: self._suspects(suspicion, after, down_to),
                looks_near=self._looks_near,
            )
        return page_of(rows, self._view, query.limit, keep)

    def active(self, suspicion: Suspicion | None = None) -> Iterator[RunView]:
        """See `RunStore.active`. Read in batches: a run that ends or starts meanwhile may be missing."""
        suspects = None if suspicion is None else self._suspects(suspicion)
        after: Cursor | None = None
        while rows := self._fetch(*queries.active(after, _ACTIVE_BATCH, suspects)):
            yield from map(self._view, rows)
            if len(rows) < _ACTIVE_BATCH:
                break
            after = queries.position_of(rows[-1])

    def _suspects(
        self, suspicion: Suspicion, after: Cursor | None = None, down_to: Cursor | None = None
    ) -> Suspects:
        return suspects_of(suspicion, self._fetch(*at_work(suspicion, after, down_to)))

    def find(self, fragment: str, limit: int = 10) -> list[RunId]:
        """See `RunStore.find`."""
        if not fragment or limit < 1:
            return []
        found = self._fetch(*queries.begins_with(fragment, limit))
        if found and found[0][0] == fragment:
            return [id_of(*found[0])]
        if len(found) < limit:
            found += self._fetch(*queries.ends_with(fragment, limit - len(found)))
        return [id_of(*row) for row in found]

    def tally(self, query: TallyQuery) -> Tally:
        """See `RunStore.tally`."""
        found = self._fetch(*queries.tally(query))
        return Tally.of(
            query, ((stretch, RunStatus(status), runs) for stretch, status, runs in found)
        )

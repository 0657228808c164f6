"""Sending what was put off: the events of many runs in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack

from ...domain.errors import LastwordError, StoreCorrupt, StoreUnavailable, VersionConflict
from ...domain.values import RunId, run_key
from ...projections.ports import Append, Appended
from .journal import Journal
from .receipts import Receipt
from .run_cache import Entry
from .unsent import on_top, request_for


class BatchJournal(Journal):
    """A journal that also sends what was executed with `later`."""

    def send_all(self, run_ids: Iterable[RunId], *, strict: bool) -> dict[str, Receipt]:
        """Append what is unsent of these runs in one transaction; by key, what became of it. What is not named has nothing unsent.

        What the store did not take for a fault of its own is kept, unless `strict`; what can never be taken is dropped.
        """
        keys = sorted({run_key(run_id) for run_id in run_ids})  # everybody takes them in one order
        with ExitStack() as turns:
            for key in keys:
                turns.enter_context(self._runs.one_at_a_time(key))
            found = {key: entry for key in keys if (entry := self._runs.get(key)) and entry.unsent}
            if not found:
                return {}
            requests = [
                request_for(entry, tuple(entry.unsent), entry.state) for entry in found.values()
            ]
            answers = self._append_all(requests)
            return {
                key: self._became(key, entry, answer, strict=strict)
                for (key, entry), answer in zip(found.items(), answers, strict=True)
            }

    # -- inside

    def _append_all(self, requests: Sequence[Append]) -> Sequence[Appended | LastwordError | None]:
        """One transaction; the same answer for all of them when it failed."""
        began = self._clock()
        try:
            with self._downtime.trying() as down:
                attempts = 1 if down else None
                answers = self._retry.call(lambda: self._store.append_all(requests), attempts)
        except StoreUnavailable as error:
            self._outages.failed(began)
            return [error] * len(requests)
        except StoreCorrupt as error:
            return [error] * len(requests)
        self._outages.succeeded(began)
        return answers

    def _became(
        self, key: str, entry: Entry, answer: Appended | LastwordError | None, *, strict: bool
    ) -> Receipt:
        """Draw the conclusion for one run."""
        if isinstance(answer, Appended):
            self._took(key, entry, entry.state, answer)
            return _stored(entry)
        if isinstance(answer, VersionConflict):  # somebody else moved it on
            try:
                self._send(key, entry, set_aside=False)
                return _stored(self._runs.get(key) or entry)
            except LastwordError as error:
                answer = error
        assert answer is not None  # noqa: S101  # None is the answer of a guard, and there is none
        entry = self._runs.get(key) or entry
        ours = [item for item in entry.unsent if item.event_id not in entry.kept_ids]
        entry.unsent = [item for item in entry.unsent if item.event_id in entry.kept_ids]
        state, entry.state = entry.state, on_top(entry.stored, entry.unsent)
        if not strict and isinstance(answer, StoreUnavailable | StoreCorrupt):
            return self._not_stored(key, entry, state, ours, answer, strict=False)
        self._runs.forget(key)
        return Receipt(entry.run_id, entry.state.status, (), stored=False, error=answer)


def _stored(entry: Entry) -> Receipt:
    return Receipt(entry.run_id, entry.state.status, (), stored=True, view=entry.view)

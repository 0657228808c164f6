"""A file of OpenLineage run events into a store: all runs or none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from ...domain.errors import InvalidInput, StoreUnavailable
from ...domain.events import RecordedEvent, RunCreated
from ...projections.importing import Placed
from ...projections.ports import NewEvent, RunStore
from ..tracking.retrying import RetryPolicy
from .importing import bounded, writable
from .openlineage_gathering import gather
from .openlineage_histories import LEASE, events_of, fitting
from .openlineage_reading import RunUpdate, read_openlineage

_MAX_CONFLICTS = 100
_TOLD_EVERY = 500
_NOW = datetime.max.replace(tzinfo=UTC)
"""For `recorded_at`: a store takes its own time for what claims to be from the future."""


@dataclass(frozen=True, slots=True)
class OpenLineageReport:
    """What an import did."""

    events: int
    """Run events that were read, repeats included."""
    passed_over: int
    """Events about a job or a dataset alone."""
    runs: int
    """Runs that the events are about."""
    added: int = 0
    """Events that were appended to the store; 0 for a repeat."""
    new_runs: int = 0
    """Runs that the store did not have."""
    extended_runs: int = 0
    """Runs of which the store had the beginning."""


def import_openlineage(
    store: RunStore,
    lines: Iterable[bytes],
    name: str,
    progress: Callable[[int], None] | None = None,
    *,
    lease: timedelta = LEASE,
) -> OpenLineageReport:
    """Bring the runs in a file of OpenLineage run events, one JSON object a line, into the store: all of them or none.

    `lines` may be a file opened for reading bytes, and `name` is what messages call it; `progress` gets the number of events that were
    read. What the store has already is passed over. A run has OpenLineage's run id. `lease` is how long a run that has not ended may
    be silent before it is flagged. Raises `InvalidInput`, which names line and field, and `StoreUnavailable`; nothing is written then.

    >>> from lastword import RunTracker
    >>> line = b'''{"eventType": "COMPLETE", "eventTime": "2026-02-05T02:00:00Z",
    ...     "run": {"runId": "0192f5a0-5f9e-7c31-8f4e-2f1f6f0f7a10"}, "job": {"namespace": "etl", "name": "import"}}'''
    >>> with RunTracker("sqlite:///:memory:") as tracker:
    ...     report = import_openlineage(tracker.store, [line], "events.jsonl")
    ...     tracker.get("0192f5a0-5f9e-7c31-8f4e-2f1f6f0f7a10").status.value, report.added
    ('completed', 3)
    """
    name = writable(name)
    updates = _told(read_openlineage(bounded(lines, name), name), progress)
    runs, events, passed_over = gather(updates)
    if not events and not passed_over:
        raise InvalidInput(f"{name}: expected at least one event, found none: the file is empty")
    histories = {run.run_id: list(events_of(run, lease)) for run in runs.values()}
    read = OpenLineageReport(events, passed_over, len(histories))
    retry = RetryPolicy()
    for _ in range(_MAX_CONFLICTS):
        stored = {
            run_id: retry.call(lambda key=run_id: store.read_run(key)) for run_id in histories
        }
        placed = [
            Placed(f"{name}, run {run_id}", item)
            for run_id, history in histories.items()
            for item in _lengthened(run_id, history, stored[run_id])
        ]
        if not placed:
            return read
        try:
            done = retry.call(lambda items=placed: store.import_runs(items))
        except InvalidInput:
            if any(len(store.read_run(run_id)) > len(stored[run_id]) for run_id in histories):
                continue  # somebody else wrote to one of the runs in between
            raise
        return replace(
            read, added=done.added, new_runs=done.new_runs, extended_runs=done.extended_runs
        )
    raise StoreUnavailable(
        f"{name}: expected to import, but lost {_MAX_CONFLICTS} races against other writers; try again"
    )


def _told(
    updates: Iterator[RunUpdate | None], progress: Callable[[int], None] | None
) -> Iterator[RunUpdate | None]:
    number = 0
    for number, update in enumerate(updates, start=1):
        yield update
        if progress is not None and number % _TOLD_EVERY == 0:
            progress(number)
    if progress is not None:
        progress(number)


def _lengthened(
    run_id: str, history: list[NewEvent], stored: list[RecordedEvent]
) -> list[RecordedEvent]:
    """The stored events with the new ones behind them; nothing where there are no new ones."""
    new = fitting(run_id, history, stored)
    if not new:
        return []
    first = new[0].event
    correlation_id = first.correlation_id if isinstance(first, RunCreated) else None
    return [
        *stored,
        *(
            RecordedEvent(
                run_id=stored[0].run_id if stored else run_id,
                version=version,
                position=version,
                event_id=item.event_id,
                event=item.event,
                occurred_at=item.occurred_at,
                recorded_at=_NOW,
                actor=item.actor,
                correlation_id=stored[0].correlation_id if stored else correlation_id,
            )
            for version, item in enumerate(new, start=len(stored) + 1)
        ),
    ]

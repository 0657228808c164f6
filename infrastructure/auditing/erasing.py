"""Taking what people wrote out of one finished run, with the erasure itself on record."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

from pydantic import BaseModel, ConfigDict

from ...domain.commands import EraseRun
from ...domain.errors import InvalidInput, VersionConflict
from ...domain.events import RecordedEvent, RunErased, RunEvent
from ...domain.leaves import Leaves
from ...domain.run import decide, fold
from ...domain.values import RunId
from ...projections.ports import NewEvent, Rewrite, RunStore
from ..exchange.redacting import redacted
from ..logs import get_logger
from ..mapper import recorded_event
from .sealing import leaf_of

log = get_logger("lastword.erasing")

_MAX_CONFLICTS = 10


class EraseReport(BaseModel):
    """What an erasure did."""

    model_config = ConfigDict(frozen=True)

    run_id: RunId
    events: int
    """Events that were changed; 0 when there was nothing left to erase."""
    compacted: bool
    """True when the whole file was written anew, so that nothing is left in its unused parts."""
    journal_cleared: bool
    """False when somebody read an earlier state of the store, which keeps the old text in its journal; erasing again clears it. On PostgreSQL
    also when the role may not vacuum the tables; their owner may."""


def erase(
    store: RunStore,
    run_id: RunId,
    new_event: Callable[[RunEvent, str | None], NewEvent],
    *,
    reason: str | None,
    actor: str | None,
    compact: bool,
) -> EraseReport:
    """See `RunTracker.erase`."""
    changed = 0
    for attempt in range(_MAX_CONFLICTS):
        rewrite = _planned(store, run_id, new_event, EraseRun(reason=reason, actor=actor))
        if rewrite is None:
            break
        try:
            run_id = store.rewrite(rewrite).run_id
        except VersionConflict:  # somebody reported something meanwhile
            if attempt == _MAX_CONFLICTS - 1:
                raise
            continue
        changed = len(rewrite.changed)
        break
    cleared = store.compact(whole=compact)
    if not cleared:
        log.warning("lastword.erase.journal_not_cleared", run_id=run_id)
    return EraseReport(run_id=run_id, events=changed, compacted=compact, journal_cleared=cleared)


def refuse_waiting(run_id: RunId) -> InvalidInput:
    """For a run whose events are not all in the store."""
    return InvalidInput(
        f"run {run_id}: expected all of its events in the store, found some in the spool; `lastword deliver` brings them in"
    )


def _planned(
    store: RunStore,
    run_id: RunId,
    new_event: Callable[[RunEvent, str | None], NewEvent],
    command: EraseRun,
) -> Rewrite | None:
    """What to write; None when there is nothing to erase. Raises `RunNotFound`, `InvalidTransition`."""
    rows = list(chain.from_iterable(store.log(run_ids=[run_id])))
    history = [recorded_event(row) for row in rows]
    state = fold(history[0].run_id if history else run_id, (item.event for item in history))
    changed: list[RecordedEvent] = []
    kept: list[tuple[int, bytes]] = []
    for row, recorded in zip(rows, history, strict=True):
        without = recorded if isinstance(recorded.event, RunErased) else redacted(recorded)
        if without != recorded:
            changed.append(without)
            kept.append((recorded.position, leaf_of(row)))
    asked = EraseRun(
        reason=command.reason,
        actor=command.actor,
        store_id=store.store_id(),
        leaves=Leaves.of(kept),
    )
    decided = decide(asked, state)
    if not decided:
        return None
    correlation_id = redacted(history[0]).correlation_id
    record = new_event(decided[0], command.actor)
    return Rewrite(state.run_id, state.version, tuple(changed), record, correlation_id)

"""The rules of a run's life.

`decide` says what happens when something is asked of a run; `evolve` says what the run is after it happened. Rules are
in `decide` alone: `evolve` believes what was recorded, so tightening a rule never makes an old history unloadable.

    from \\ asked   start    progress  complete  fail    cancel   request cancellation  declare lost   erase
    (none)         RunNotFound, for all
    pending        running  -         -         failed  cancelled  cancelled            failed (lost)  -
    running        -        running   completed failed  cancelled  running              failed (lost)  -
    lost           -        -         completed failed  cancelled  no-op                no-op          erased
    last word      -        -         same: no-op; other: kept as contradiction        no-op          erased
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple, assert_never

from pydantic import JsonValue

from .commands import (
    CancelRun,
    Command,
    CompleteRun,
    CreateRun,
    DeclareLost,
    EraseRun,
    FailRun,
    RecordProgress,
    RequestCancellation,
    StartRun,
)
from .errors import InvalidTransition, RunAlreadyExists, RunNotFound
from .events import (
    CancellationRequested,
    OutcomeContradicted,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunErased,
    RunEvent,
    RunFailed,
    RunLost,
    RunProgressed,
    RunStarted,
    event_from,
)
from .status import RunStatus
from .values import Owner, RunId

Outcome = RunCompleted | RunFailed | RunCancelled
"""A last word that the work itself reported."""


_NO_PARAMS: dict[str, JsonValue] = {}


class RunState(NamedTuple):
    """As much of a run as the rules need. `version` 0 means that no run has this id yet.

    >>> evolve(RunState(1), RunCreated(name="import")).status
    <RunStatus.PENDING: 'pending'>
    """

    run_id: RunId
    version: int = 0
    status: RunStatus = RunStatus.PENDING
    name: str = ""
    params: dict[str, JsonValue] = _NO_PARAMS
    correlation_id: str | None = None
    owner: Owner | None = None
    cancel_requested: bool = False
    lost: bool = False
    """The last word is the tracker's own verdict, which the real outcome may still replace."""
    claims: frozenset[RunStatus] = frozenset()
    """Outcomes that were reported after the last word and kept as evidence."""

    @property
    def exists(self) -> bool:
        """True once the run was created."""
        return self.version > 0


def fold(run_id: RunId, events: Iterable[RunEvent]) -> RunState:
    """The state after all of the events.

    >>> fold(1, [RunCreated(name="import"), RunCancelled()]).status
    <RunStatus.CANCELLED: 'cancelled'>
    """
    state = RunState(run_id)
    for event in events:
        state = evolve(state, event)
    return state


def evolve(state: RunState, event: RunEvent) -> RunState:
    """The state after one more event. Never refuses: what is recorded has happened."""
    run_id, version, status, name, params, correlation_id, owner, cancel_requested, lost, claims = (
        state
    )
    status = event.LEADS_TO or status
    match event:
        case RunCreated():
            name, params, correlation_id = event.name, event.params, event.correlation_id
        case RunStarted():
            owner = event.owner
        case RunCompleted() | RunFailed() | RunCancelled():
            lost = False
        case RunLost():
            lost = True
        case CancellationRequested():
            cancel_requested = True
        case OutcomeContradicted():
            claims |= {event.claimed}
        case _:
            pass
    return RunState(  # `_replace` takes twice as long
        run_id,
        version + 1,
        status,
        name,
        params,
        correlation_id,
        owner,
        cancel_requested,
        lost,
        claims,
    )


def decide(command: Command, state: RunState) -> tuple[RunEvent, ...]:
    """What happens when this is asked of a run in this state; `()` when it is a harmless repeat.

    Raises `RunNotFound`, `RunAlreadyExists`, `InvalidTransition`.

    >>> decide(CompleteRun(result=1), fold(1, [RunCreated(name="import"), RunCompleted()]))
    ()
    """
    if isinstance(command, CreateRun):
        return _create(command, state)
    if not state.exists:
        raise RunNotFound(state.run_id)
    match command:
        case StartRun():
            return _start(command, state)
        case RecordProgress():
            return _progress(command, state)
        case RequestCancellation():
            return _request_cancellation(command, state)
        case CompleteRun():
            if command.note is None:
                completed = event_from(RunCompleted, {"result": command.result, "note": None})
            else:
                completed = RunCompleted(result=command.result, note=command.note)
            return _finish(completed, state)
        case FailRun():
            failed = RunFailed(
                error=command.error,
                exit_code=command.exit_code,
                signal=command.signal,
                note=command.note,
            )
            return _finish(failed, state)
        case CancelRun():
            return _finish(RunCancelled(reason=command.reason, actor=command.actor), state)
        case DeclareLost():
            if state.status.is_terminal:
                return ()
            return (RunLost(flag=command.flag, evidence=command.evidence),)
        case EraseRun():
            return _erase(command, state)
        case _:
            assert_never(command)


def reconcile(event: RunEvent, state: RunState) -> tuple[RunEvent, ...]:
    """What becomes of an event that was decided earlier, elsewhere, and meets this state now.

    An event that waited in a spool happened before others that the store already holds. It is taken as it is where it
    still fits, becomes a contradiction where another outcome came first, and is dropped where it says nothing new.
    Raises `RunAlreadyExists` when the id was taken meanwhile, and `RunNotFound` when the run is not there at all.

    >>> reconcile(RunCompleted(), fold(1, [RunCreated(name="import"), RunCancelled()]))
    (OutcomeContradicted(claimed=<RunStatus.COMPLETED: 'completed'>, detail=None),)
    """
    if not state.exists:
        if isinstance(event, RunCreated):
            return (event,)
        raise RunNotFound(state.run_id)
    match event:
        case RunCreated():
            _check_same(event.name, event.params, state)
            return ()
        case RunCompleted() | RunFailed() | RunCancelled():
            return _finish(event, state) if state.status.is_terminal else (event,)
        case RunStarted():
            fits = state.status is RunStatus.PENDING
        case RunProgressed():
            fits = state.status is RunStatus.RUNNING
        case CancellationRequested():
            fits = not state.status.is_terminal and not state.cancel_requested
        case OutcomeContradicted():
            fits = state.status.is_terminal and event.claimed not in {state.status, *state.claims}
        case RunErased():  # done inside the store, never delivered
            fits = False
        case _:
            fits = not state.status.is_terminal
    return (event,) if fits else ()


def _create(command: CreateRun, state: RunState) -> tuple[RunEvent, ...]:
    if not state.exists:
        fields: dict[str, Any] = {
            "name": command.name,
            "params": command.params,
            "tags": command.tags,
            "actor": command.actor,
            "correlation_id": command.correlation_id,
            "parent_id": command.parent_id,
            "attempt": command.attempt,
            "retry_of": command.retry_of,
            "exclusive": command.exclusive,
            "deadline_at": command.deadline_at,
            "lease_seconds": command.lease_seconds,
        }
        plain = _is_plain(tuple(map(type, fields.values()))) and not command.tags
        return (event_from(RunCreated, fields) if plain else RunCreated(**fields),)
    _check_same(command.name, command.params, state)
    return ()


_TEXT = frozenset({str, type(None)})
_PLAIN = {
    "name": frozenset({str}),
    "params": frozenset({dict}),
    "tags": frozenset({dict}),
    "parent_id": _TEXT | {int},
    "attempt": frozenset({int}),
    "retry_of": _TEXT | {int},
    "deadline_at": frozenset({datetime, type(None)}),
    "lease_seconds": frozenset({float}),
}
_KINDS = tuple(_PLAIN.get(field, _TEXT) for field in RunCreated.model_fields)


@lru_cache(maxsize=1024)
def _is_plain(kinds: tuple[type, ...]) -> bool:
    """Whether values of these types, which the command has checked, are as validating would leave them. There are few mixtures."""
    return all(kind in allowed for kind, allowed in zip(kinds, _KINDS, strict=True))


def _check_same(name: str, params: dict[str, JsonValue], state: RunState) -> None:
    if name != state.name:
        raise RunAlreadyExists(state.run_id, f"the name {state.name!r}, not {name!r}")
    if _canonical(params) != _canonical(state.params):
        raise RunAlreadyExists(state.run_id, "other params")


def _canonical(params: dict[str, JsonValue]) -> str:
    """Equal for equal JSON; Python alone holds True and 1 for the same."""
    return json.dumps(params, sort_keys=True)


def _start(command: StartRun, state: RunState) -> tuple[RunEvent, ...]:
    if state.status is RunStatus.PENDING:
        return (_started_by(command.owner),)
    if state.status is RunStatus.RUNNING and state.owner == command.owner:
        return ()
    if state.status is RunStatus.RUNNING and state.owner is not None:
        remedy = f"pid {state.owner.pid} on {state.owner.host} started it already: create a new run for a second try"
    else:
        remedy = "a run is started once: create a new run for another try"
    raise InvalidTransition(state.run_id, _described(state), RunStatus.RUNNING, remedy)


_last_started: tuple[Owner | None, RunStarted | None] = (None, None)
"""Most runs of a process are started by one and the same owner."""


def _started_by(owner: Owner) -> RunStarted:
    global _last_started  # noqa: PLW0603  # both parts are replaced at once
    last, event = _last_started
    if event is None or last is not owner:
        event = RunStarted(owner=owner)
        _last_started = (owner, event)
    return event


def _progress(command: RecordProgress, state: RunState) -> tuple[RunEvent, ...]:
    if state.status is not RunStatus.RUNNING:
        remedy = (
            "start it first" if state.status is RunStatus.PENDING else "it has had its last word"
        )
        raise InvalidTransition(state.run_id, _described(state), "running (progress)", remedy)
    return (
        RunProgressed(
            current=command.current,
            total=command.total,
            step=command.step,
            message=command.message,
        ),
    )


def _request_cancellation(command: RequestCancellation, state: RunState) -> tuple[RunEvent, ...]:
    if state.status.is_terminal or state.cancel_requested:
        return ()
    requested = CancellationRequested(reason=command.reason, actor=command.actor)
    if state.status is RunStatus.PENDING:  # nobody owns it, so nobody else would ever answer
        return requested, RunCancelled(reason=command.reason, actor=command.actor)
    return (requested,)


def _erase(command: EraseRun, state: RunState) -> tuple[RunEvent, ...]:
    if not state.status.is_terminal:
        remedy = "only a finished run can be erased: wait for its last word, or cancel it"
        raise InvalidTransition(state.run_id, _described(state), "erased", remedy)
    if not len(command.leaves):  # there is nothing left to erase
        return ()
    return (
        RunErased(
            reason=command.reason,
            actor=command.actor,
            store_id=command.store_id,
            leaves=command.leaves,
        ),
    )


def _finish(outcome: Outcome, state: RunState) -> tuple[RunEvent, ...]:
    """One outcome: the first one wins, except that the real one replaces the tracker's verdict."""
    claimed = outcome.LEADS_TO or state.status
    if state.status.is_terminal and not state.lost:
        if claimed == state.status or claimed in state.claims:
            return ()
        return (OutcomeContradicted(claimed=claimed, detail=_detail(outcome)),)
    if state.status is RunStatus.PENDING and isinstance(outcome, RunCompleted):
        remedy = "work that never began cannot be completed: start it first"
        raise InvalidTransition(state.run_id, _described(state), claimed, remedy)
    return (outcome,)


def _detail(outcome: Outcome) -> str | None:
    match outcome:
        case RunFailed():
            return f"{outcome.error.type}: {outcome.error.message}"[:1024]
        case RunCancelled():
            return outcome.reason
        case RunCompleted():
            return outcome.note


def _described(state: RunState) -> str:
    return f"{state.status} (declared lost)" if state.lost else str(state.status)

"""What OpenLineage events say of a run, as events of its life. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from ...domain.errors import InvalidInput
from ...domain.events import (
    Evidence,
    OutcomeContradicted,
    RecordedEvent,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunFailed,
    RunLost,
    RunProgressed,
    RunStarted,
)
from ...domain.redaction import sanitise
from ...domain.run import evolve, fold, reconcile
from ...domain.status import FlagReason, RunStatus
from ...domain.values import (
    MAX_NAME_LENGTH,
    MAX_TEXT_LENGTH,
    ErrorInfo,
    Owner,
    json_of,
    name_of,
    tags_of,
)
from ...projections.ports import NewEvent
from .openlineage_facets import KEPT, Json
from .openlineage_gathering import LOST, Gathered, Said

LEASE = timedelta(days=1)
"""How long an imported run that has not ended may be silent before it is flagged."""

_OUTCOMES = frozenset(status.value for status in RunStatus if status.is_terminal)
_CLIENT = "OPENLINEAGE_CLIENT"
"""The source of tags with which openlineage-python names its own version."""
_OWNER_PREFIX = "openlineage:"
"""Begins the host of an imported run's owner; no real host is called that."""


def history_of(run: Gathered, lease: timedelta = LEASE) -> list[NewEvent]:
    """The run's events in a store that does not have it yet."""
    return fitting(run.run_id, list(events_of(run, lease)), [])


def fitting(run_id: str, history: list[NewEvent], stored: list[RecordedEvent]) -> list[NewEvent]:
    """Of the history, what says something new to a run with these events. Nothing opens a run again."""
    present = {item.event_id for item in stored}
    newest = max((item.occurred_at for item in stored), default=None)
    state = fold(stored[0].run_id if stored else run_id, (item.event for item in stored))
    new: list[NewEvent] = []
    for item in history:
        is_creation = isinstance(item.event, RunCreated)
        is_old_progress = (
            isinstance(item.event, RunProgressed)
            and newest is not None
            and item.occurred_at <= newest
        )
        if item.event_id in present or (is_creation and state.exists) or is_old_progress:
            continue
        for event in reconcile(item.event, state):
            new.append(item._replace(event=event))
            state = evolve(state, event)
    return new


def events_of(run: Gathered, lease: timedelta) -> Iterator[NewEvent]:
    """Everything the events say, as a life: created, started, got further, ended, contradicted."""
    ends = run.ends()
    ended_at = run.said[ends[0]].first[0] if ends else None
    created_at = run.first[0]
    created = _created(run, lease)
    yield NewEvent(run.event_id("created"), created, created_at, created.actor)

    start, running = run.said.get("START"), run.said.get("RUNNING")
    if start is not None or running is not None or "COMPLETE" in ends:
        said = start or running
        at = said.first[0] if said is not None else run.said["COMPLETE"].first[0]
        yield NewEvent(run.event_id("started"), _started(run, start, at), _not_after(at, ended_at))
    if running is not None:
        event = _progressed(running)
        at = _not_after(running.last[0], ended_at)
        yield NewEvent(run.event_id("running", running.last[1]), event, at)
    for kind in ends:
        said = run.said[kind]
        event = _outcome(kind, said)
        actor = event.actor if isinstance(event, RunCancelled) else None
        yield NewEvent(run.event_id(kind), event, said.first[0], actor)
    for claimed, order in sorted(run.contradictions.items()):
        if claimed in _OUTCOMES:
            event = OutcomeContradicted(claimed=RunStatus(claimed))
            yield NewEvent(run.event_id("contradiction", claimed), event, order[0])


def _created(run: Gathered, lease: timedelta) -> RunCreated:
    ours, other = run.facet("lastword_run"), run.said.get("OTHER")
    parent = run.facet("parent").get("run")
    attempt = ours.get("attempt")
    kept = other.kept() if other else {}
    kept["job"] = {"namespace": run.namespace, "name": run.name, **kept.get("job", {})}
    return RunCreated(
        name=_short_name(run.name),
        params=_params(run.facet("lastword_params").get("params")),
        tags=_tags(run.facet("tags").get("tags")),
        actor=_text(ours.get("actor")),
        correlation_id=_text(ours.get("correlation_id")),
        parent_id=_uuid(parent.get("runId")) if isinstance(parent, dict) else None,
        attempt=attempt if type(attempt) is int and attempt > 0 else 1,
        retry_of=_text(ours.get("retry_of")),
        lease_seconds=lease.total_seconds(),
        **_beside(kept),
    )


def _started(run: Gathered, start: Said | None, at: datetime) -> RunStarted:
    host = _OWNER_PREFIX + _short_name(run.namespace)
    owner = Owner(host=host, pid=0, started_at=at)
    if start is not None:
        return RunStarted(owner=owner, **_extra(start))
    note = "no START was reported; the start is the moment of the first RUNNING or of COMPLETE"
    added: dict[str, Any] = {"note": note}
    return RunStarted(owner=owner, **added)


def _progressed(running: Said) -> RunProgressed:
    """The newest report; without numbers of its own, the number of reports."""
    reported = running.facet("lastword_progress")
    try:
        return RunProgressed(
            current=reported.get("current", len(running.digests)),
            total=reported.get("total"),
            step=_cut(reported.get("step")),
            message=_cut(reported.get("message")),
            **_extra(running),
        )
    except ValidationError:  # somebody else's facet of that name
        return RunProgressed(current=len(running.digests), **_extra(running))


def _outcome(kind: str, said: Said) -> RunCompleted | RunFailed | RunCancelled | RunLost:
    ours = said.facet("lastword_outcome")
    match kind:
        case "COMPLETE":
            return RunCompleted(result=_json(ours.get("result")), **_extra(said))
        case "ABORT":
            cancellation = said.facet("lastword_cancellation")
            reason = cancellation.get("reason")
            return RunCancelled(
                reason=sanitise(reason) if isinstance(reason, str) else None,
                actor=_text(cancellation.get("actor")),
                **_extra(said),
            )
        case _ if kind == LOST:
            return _lost(said)
        case _:
            return _failed(said, ours)


def _failed(said: Said, ours: Json) -> RunFailed:
    message = said.facet("errorMessage").get("message")
    message = message if isinstance(message, str) else "no error message was reported"
    error_type = _text(ours.get("error_type"))
    if error_type is not None:
        message = message.removeprefix(f"{error_type}: ")
    exit_code, signal = ours.get("exit_code"), ours.get("signal")
    return RunFailed(
        error=ErrorInfo(type=error_type or "FAIL", message=sanitise(message)),
        exit_code=exit_code if type(exit_code) is int else None,
        signal=_text(signal),
        **_extra(said),
    )


def _lost(said: Said) -> RunLost:
    verdict = said.facet("lastword_verdict")
    flag = verdict.get("flag")
    try:
        evidence = Evidence.model_validate(verdict.get("evidence", {}))
    except ValidationError:
        evidence = Evidence()
    reason = FlagReason(flag) if flag in list(FlagReason) else FlagReason.SILENT
    return RunLost(flag=reason, evidence=evidence, **_extra(said))


def _extra(said: Said) -> dict[str, Any]:
    return _beside(said.kept())


def _beside(kept: Json) -> dict[str, Any]:
    """The extra field of an event; none for nothing."""
    return {KEPT: kept} if kept else {}


def _not_after(at: datetime, end: datetime | None) -> datetime:
    return at if end is None else min(at, end)


def _short_name(name: str) -> str:
    """As a run can have it; the whole name is kept beside it."""
    plain = "".join(char if char.isprintable() else " " for char in name).strip() or "unnamed"
    return plain if len(plain) <= MAX_NAME_LENGTH else plain[: MAX_NAME_LENGTH - 1] + "…"


def _text(value: object) -> str | None:
    try:
        return None if value is None else name_of(value)
    except InvalidInput:
        return None


def _uuid(value: object) -> str | None:
    try:
        return str(UUID(value)) if isinstance(value, str) else None
    except ValueError:
        return None


def _cut(value: object) -> Any:
    return value[:MAX_TEXT_LENGTH] if isinstance(value, str) else value


def _json(value: object) -> Any:
    try:
        return json_of(value, "result")
    except InvalidInput:
        return None


def _params(value: object) -> Json:
    plain = _json(value)
    return plain if isinstance(plain, dict) else {}


def _tags(value: object) -> dict[str, str]:
    """Those that a run can have, without the client's own; all are kept in the facet."""
    found: dict[str, str] = {}
    for tag in value if isinstance(value, list) else []:
        try:
            if tag.get("source") == _CLIENT:
                continue
            found = tags_of({**found, tag["key"]: tag["value"]})
        except (InvalidInput, TypeError, KeyError, AttributeError):
            continue
    return found

"""The facets of OpenLineage run events: which there are, and what each says. Pure.

Standard facets are those of https://openlineage.io/docs/spec/facets; ours begin with ``lastword_``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

from ...domain.events import (
    CancellationRequested,
    OutcomeContradicted,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunEvent,
    RunFailed,
    RunLost,
    RunProgressed,
    RunStarted,
)

PRODUCER = "urn:lastword:openlineage:1"
"""Who made the events, and by which version of this mapping."""
KEPT = "openlineage"
"""The extra field of an event under which an import keeps what has no field of its own."""
OUTCOMES = (RunCompleted, RunFailed, RunCancelled, RunLost)

Json = dict[str, Any]

_FACETS = "https://openlineage.io/spec/facets"
_STANDARD = {
    "ErrorMessageRunFacet": "1-0-1",
    "JobTypeJobFacet": "2-0-4",
    "ParentRunFacet": "1-2-0",
    "TagsRunFacet": "1-0-0",
}


def kept(event: RunEvent, part: str) -> Any:
    """What an import kept of one part (``run``, ``job``, ``inputs``, ``outputs``) of the OpenLineage events behind this one.

    >>> kept(RunCreated(name="import"), "run")
    {}
    """
    empty: Any = [] if part in {"inputs", "outputs"} else {}
    whole = (event.model_extra or {}).get(KEPT)
    found = cast("Json", whole).get(part) if isinstance(whole, dict) else None
    return found if isinstance(found, type(empty)) else empty


def facets_of(event: RunEvent, *, was_lost: bool) -> Json:
    """The run facets that this event alone has. `was_lost`: the run had been declared lost before."""
    facts = event.model_dump(mode="json", exclude_none=True, exclude={KEPT})
    made: Json = {}
    match event:
        case RunCreated():
            if event.params:
                made["lastword_params"] = ours("LastwordParamsRunFacet", params=facts["params"])
        case RunStarted():
            made["lastword_owner"] = ours("LastwordOwnerRunFacet", **facts["owner"])
        case RunProgressed():
            made["lastword_progress"] = ours("LastwordProgressRunFacet", **facts)
        case CancellationRequested() | RunCancelled():
            made["lastword_cancellation"] = ours("LastwordCancellationRunFacet", **facts)
        case RunCompleted():
            made["lastword_outcome"] = ours("LastwordOutcomeRunFacet", **facts)
        case RunFailed():
            command = event.exit_code is not None or event.signal is not None
            error = facts.pop("error")
            made["errorMessage"] = standard(
                "ErrorMessageRunFacet",
                message=f"{event.error.type}: {event.error.message}",
                programmingLanguage="UNKNOWN" if command else "PYTHON",
                stackTrace=event.error.traceback,
            )
            facts["error_type"] = error["type"]
            made["lastword_outcome"] = ours("LastwordOutcomeRunFacet", **facts)
        case RunLost():
            made["errorMessage"] = standard(
                "ErrorMessageRunFacet",
                message=f"declared lost ({event.flag}): {event.evidence.detail}".rstrip(": "),
                programmingLanguage="UNKNOWN",
            )
            made["lastword_verdict"] = ours(
                "LastwordVerdictRunFacet", status_update_failed=True, **facts
            )
        case OutcomeContradicted():
            made["lastword_contradiction"] = ours("LastwordContradictionRunFacet", **facts)
        case _:  # nothing more is known of it here
            pass
    if was_lost and isinstance(event, OUTCOMES) and not isinstance(event, RunLost):
        made["lastword_verdict"] = ours(
            "LastwordVerdictRunFacet", status_update_failed=False, supersedes="RunLost"
        )
    return made


def ours(name: str, /, **fields: Any) -> Json:
    """A facet of ours; a field that is None is left out."""
    base = {"_producer": PRODUCER, "_schemaURL": f"{PRODUCER}#/$defs/{name}"}
    return base | {key: value for key, value in fields.items() if value is not None}


def standard(name: str, /, **fields: Any) -> Json:
    """A facet of the specification; a field that is None is left out."""
    url = f"{_FACETS}/{_STANDARD[name]}/{name}.json#/$defs/{name}"
    base = {"_producer": PRODUCER, "_schemaURL": url}
    return base | {key: value for key, value in fields.items() if value is not None}


def rfc3339(moment: datetime) -> str:
    """The moment as OpenLineage writes it.

    >>> rfc3339(datetime(2026, 2, 5, 2, tzinfo=UTC))
    '2026-02-05T02:00:00Z'
    """
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")

"""A run's events as OpenLineage 2 run events, one JSON object a line. Pure: nothing here opens a file or a connection.

    RunCreated, CancellationRequested, OutcomeContradicted    OTHER
    RunStarted                                                START
    RunProgressed                                             RUNNING
    RunCompleted                                              COMPLETE
    RunFailed, RunLost                                        FAIL
    RunCancelled                                              ABORT

OpenLineage wants one START for each run. A run that ends without ever being started gets one right before its end, marked
``"added": true`` in the facet `lastword_event`. Facets of our own begin with ``lastword_``; docs/how-to/openlineage.md
describes them. The specification: https://openlineage.io/docs/spec/run-cycle
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from uuid import UUID, uuid5

from pydantic_core import to_json

from ...domain.errors import InvalidInput
from ...domain.events import (
    RecordedEvent,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunEvent,
    RunFailed,
    RunLost,
    RunProgressed,
    RunStarted,
)
from ...domain.values import RunId, run_key
from .openlineage_facets import OUTCOMES, PRODUCER, Json, facets_of, kept, ours, rfc3339, standard

NAMESPACE = "lastword"
"""The job namespace where nobody names another."""
SCHEMA_URL = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"

History = Callable[[RunId], Sequence[RecordedEvent]]
"""Gives a run's events, e.g. `RunStore.read_run`; empty for an unknown run."""

_IDS = UUID("5b2f1b58-8d3a-5f0e-9a53-6c61737477f1")
"""The space of the UUIDs that are made from other ids; part of the format."""
_CANONICAL = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_REMEMBERED = 10_000


def openlineage_lines(
    events: Iterable[RecordedEvent], *, namespace: str = NAMESPACE, history: History | None = None
) -> Iterator[str]:
    """The events as lines of JSON, each with its end of line. The same events give the same lines.

    `events` are one or many runs', each run's in order. `namespace` is the job namespace: give each store its own, because ids that
    are no UUIDs become UUIDs by namespace and id. `history` is asked where a run's beginning, or the name of its parent, is not
    among the events; without it, such a run is refused with `InvalidInput`, and such a parent is left out.

    >>> from ...domain.values import EPOCH
    >>> event = RecordedEvent(run_id=17, version=1, position=9, event_id="0" * 32, event=RunCreated(name="import"),
    ...     occurred_at=EPOCH, recorded_at=EPOCH)
    >>> [line] = openlineage_lines([event])
    >>> line[:63]
    '{"eventType":"OTHER","eventTime":"1970-01-01T00:00:00Z","run":{'
    """
    mapping = OpenLineageMapping(namespace=namespace, history=history)
    for recorded in events:
        for event in mapping.of(recorded):
            yield to_json(event, inf_nan_mode="strings").decode() + "\n"


def openlineage_run_id(run_id: RunId, namespace: str = NAMESPACE) -> str:
    """The UUID under which OpenLineage knows the run: the id itself where it is a UUID in lower case, else one made from it.

    >>> openlineage_run_id("0192f5a0-5f9e-7c31-8f4e-2f1f6f0f7a10")
    '0192f5a0-5f9e-7c31-8f4e-2f1f6f0f7a10'
    >>> openlineage_run_id(17) == openlineage_run_id("17") != openlineage_run_id(17, "other")
    True
    """
    key = run_key(run_id)
    return key if _CANONICAL.fullmatch(key) else str(uuid5(_IDS, f"{namespace}\n{key}"))


@dataclass(frozen=True, slots=True)
class _Run:
    """What each of a run's events has to say of the run."""

    name: str
    namespace: str
    facets: Json
    """The run facets that are on every event."""
    started: bool = False
    lost: bool = False


class OpenLineageMapping:
    """Maps events in order, and remembers of each recent run what its later events need.

    >>> from ...domain.values import EPOCH
    >>> event = RecordedEvent(run_id=17, version=2, position=9, event_id="0" * 32, event=RunCancelled(),
    ...     occurred_at=EPOCH, recorded_at=EPOCH)
    >>> OpenLineageMapping().of(event)
    Traceback (most recent call last):
    lastword.domain.errors.InvalidInput: run 17: expected its events from the first one on, found version 2; export the whole run
    """

    def __init__(
        self,
        *,
        namespace: str = NAMESPACE,
        history: History | None = None,
        remembered: int = _REMEMBERED,
    ) -> None:
        self._namespace = namespace
        self._history = history
        self._remembered = remembered
        self._runs: OrderedDict[str, _Run] = OrderedDict()

    def of(self, recorded: RecordedEvent) -> list[Json]:
        """One run event, or two where a START had to be added. Raises `InvalidInput` for a run without a beginning."""
        if recorded.run_id == "":  # of the store, not of a run
            return []
        before = self._before(recorded)
        after = _after(before, recorded.event)
        self._remember(recorded.run_id, after)
        made: list[Json] = []
        if isinstance(recorded.event, OUTCOMES) and not before.started:
            made.append(self._event("START", recorded, after, {}, added=True))
        facets = facets_of(recorded.event, was_lost=before.lost)
        made.append(self._event(_event_type(recorded.event), recorded, after, facets))
        return made

    def _before(self, recorded: RecordedEvent) -> _Run:
        """What is known of the run before this event."""
        key = run_key(recorded.run_id)
        if isinstance(recorded.event, RunCreated):
            return self._created(recorded, recorded.event)
        known = self._runs.get(key)
        if known is not None:
            return known
        run: _Run | None = None
        for earlier in self._history(recorded.run_id) if self._history else ():
            if earlier.version >= recorded.version:
                break
            if isinstance(earlier.event, RunCreated):
                run = self._created(earlier, earlier.event)
            elif run is not None:
                run = _after(run, earlier.event)
        if run is None:
            raise InvalidInput(
                f"run {recorded.run_id}: expected its events from the first one on, found version"
                f" {recorded.version}; export the whole run"
            )
        return run

    def _remember(self, run_id: RunId, run: _Run) -> None:
        key = run_key(run_id)
        self._runs[key] = run
        self._runs.move_to_end(key)
        while len(self._runs) > self._remembered:
            self._runs.popitem(last=False)

    def _created(self, recorded: RecordedEvent, event: RunCreated) -> _Run:
        facets = {
            "lastword_run": ours(
                "LastwordRunFacet",
                run_id=str(recorded.run_id),
                run_id_type="int" if isinstance(recorded.run_id, int) else "str",
                actor=event.actor,
                correlation_id=recorded.correlation_id or event.correlation_id,
                attempt=event.attempt,
                retry_of=None if event.retry_of is None else str(event.retry_of),
                parent_id=None if event.parent_id is None else str(event.parent_id),
            )
        }
        if event.tags:  # on every event: a client adds tags of its own, and the newest facet counts
            tags = [{"key": key, "value": event.tags[key]} for key in event.tags]
            facets["tags"] = standard(
                "TagsRunFacet", tags=[{**tag, "source": "LASTWORD"} for tag in tags]
            )
        if event.parent_id is not None:
            name = self._name_of(event.parent_id)
            if name is not None:
                parent = openlineage_run_id(event.parent_id, self._namespace)
                facets["parent"] = standard(
                    "ParentRunFacet",
                    run={"runId": parent},
                    job={"namespace": self._namespace, "name": name},
                )
        job = kept(event, "job")  # of an imported run: what others know it by
        return _Run(job.get("name", event.name), job.get("namespace", self._namespace), facets)

    def _name_of(self, run_id: RunId) -> str | None:
        known = self._runs.get(run_key(run_id))
        if known is not None:
            return known.name
        history = self._history(run_id) if self._history else ()
        first = history[0].event if history else None
        return first.name if isinstance(first, RunCreated) else None

    def _event(
        self, kind: str, recorded: RecordedEvent, run: _Run, facets: Json, *, added: bool = False
    ) -> Json:
        envelope = ours(
            "LastwordEventRunFacet",
            event_id=recorded.event_id,
            event=recorded.type,
            schema_version=recorded.event.SCHEMA_VERSION,
            version=recorded.version,
            position=recorded.position,
            recorded_at=rfc3339(recorded.recorded_at),
            actor=recorded.actor,
            added=True if added else None,
        )
        before = {} if added else kept(recorded.event, "run")
        job_type = standard(
            "JobTypeJobFacet", processingType="BATCH", integration="LASTWORD", jobType="RUN"
        )
        return {
            "eventType": kind,
            "eventTime": rfc3339(recorded.occurred_at),
            "run": {
                "runId": openlineage_run_id(recorded.run_id, self._namespace),
                "facets": {**before, **run.facets, "lastword_event": envelope, **facets},
            },
            "job": {
                "namespace": run.namespace,
                "name": run.name,
                "facets": {"jobType": job_type, **kept(recorded.event, "job").get("facets", {})},
            },
            "inputs": kept(recorded.event, "inputs"),
            "outputs": kept(recorded.event, "outputs"),
            "producer": PRODUCER,
            "schemaURL": SCHEMA_URL,
        }


def _after(run: _Run, event: RunEvent) -> _Run:
    if isinstance(event, RunStarted):
        return replace(run, started=True)
    if isinstance(event, OUTCOMES):
        return replace(run, started=True, lost=isinstance(event, RunLost))
    return run


def _event_type(event: RunEvent) -> str:
    match event:
        case RunStarted():
            return "START"
        case RunProgressed():
            return "RUNNING"
        case RunCompleted():
            return "COMPLETE"
        case RunFailed() | RunLost():
            return "FAIL"
        case RunCancelled():
            return "ABORT"
        case _:  # also what a later release adds: it is no step of OpenLineage's run cycle
            return "OTHER"

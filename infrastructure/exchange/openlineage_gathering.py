"""What many OpenLineage run events say of one run, whatever order they come in and however often. Pure.

The rules are those of the run cycle (https://openlineage.io/docs/spec/run-cycle): what events say of a run adds up; a facet takes the
place of an older one with its name; COMPLETE, ABORT and FAIL are terminal, and the first one by its time is the run's end; nothing
opens a run again; OTHER changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import Any, TypeVar

from ...domain.errors import InvalidInput
from ...domain.redaction import sanitise
from ...domain.values import MAX_PAYLOAD_BYTES, json_of
from .openlineage_facets import Json
from .openlineage_reading import RunUpdate

LOST = "LOST"
"""A FAIL in which Lastword says that it gave the run up: an outcome that any other one replaces."""
ENDS = ("FAIL", "ABORT", "COMPLETE")
"""The terminal types; of two at one moment the earlier one here wins."""

_LEFT_OUT_SHOWN = 50
_NAME_SHOWN = 100

T = TypeVar("T")
Order = tuple[datetime, bytes]


@dataclass(slots=True)
class Said:
    """What all events of one type say."""

    first: Order
    last: Order
    digests: set[bytes] = field(default_factory=set[bytes])
    facets: dict[str, dict[str, tuple[Order, Json]]] = field(
        default_factory=lambda: {"run": {}, "job": {}}
    )
    datasets: dict[str, dict[tuple[str, str], tuple[Order, Json]]] = field(
        default_factory=lambda: {"inputs": {}, "outputs": {}}
    )

    def add(self, update: RunUpdate) -> None:
        """Take one more event in; a second time it changes nothing."""
        order = update.order
        self.first, self.last = min(self.first, order), max(self.last, order)
        self.digests.add(update.digest)
        for part, facets in (("run", update.run_facets), ("job", update.job_facets)):
            for name, facet in facets.items():
                _newest(self.facets[part], name, order, facet)
        for part, datasets in (("inputs", update.inputs), ("outputs", update.outputs)):
            for dataset in datasets:
                key = (dataset["namespace"], dataset["name"])
                _newest(self.datasets[part], key, order, dataset)

    def facet(self, name: str) -> Json:
        """The newest run facet of this name; empty when there is none."""
        found = self.facets["run"].get(name)
        return {} if found is None else found[1]

    def kept(self, limit: int = MAX_PAYLOAD_BYTES) -> Json:
        """The facets and datasets as they are stored beside the event: at most `limit` bytes of JSON.

        The largest go first where that is too much; ``leftOut`` names them. Error text is sanitised, and stack traces are left out.
        """
        parts: list[tuple[int, str, tuple[str, ...], Any]] = []
        left_out: list[str] = []
        for part, facets in self.facets.items():
            for name in sorted(facets):
                facet = facets[name][1]
                if part == "run" and name == "errorMessage":
                    facet, traced = _sanitised(facet)
                    left_out += ["run.errorMessage.stackTrace"] * traced
                place = (part,) if part == "run" else (part, "facets")
                parts.append(_sized(f"{part}.{name}", (*place, name), facet))
        for part, datasets in self.datasets.items():
            if datasets:
                found = [datasets[key][1] for key in sorted(datasets)]
                parts.append(_sized(part, (part,), found))
        room = limit
        kept: Json = {}
        for size, label, place, value in sorted(parts, key=lambda part: part[:2]):
            room -= size
            if room < 0:
                left_out.append(label)
                continue
            target = kept
            for step in place[:-1]:
                target = target.setdefault(step, {})
            target[place[-1]] = value
        if left_out:
            kept["leftOut"] = [label[:_NAME_SHOWN] for label in left_out[:_LEFT_OUT_SHOWN]]
        return kept


@dataclass(slots=True)
class Gathered:
    """What all events of one run say."""

    run_id: str
    first: Order
    namespace: str
    name: str
    said: dict[str, Said] = field(default_factory=dict[str, Said])
    contradictions: dict[str, Order] = field(default_factory=dict[str, Order])
    """Outcomes that Lastword says were reported too late, and when first."""

    def add(self, update: RunUpdate) -> None:
        """Take one more event in; a second time it changes nothing."""
        if update.order < self.first:  # a job that changed its name is known by its first one
            self.first, self.namespace, self.name = update.order, update.namespace, update.name
        kind = _kind(update)
        if kind not in self.said:
            self.said[kind] = Said(update.order, update.order)
        self.said[kind].add(update)
        claimed = update.run_facets.get("lastword_contradiction", {}).get("claimed")
        if kind == "OTHER" and isinstance(claimed, str):
            self.contradictions[claimed] = min(
                self.contradictions.get(claimed, update.order), update.order
            )

    def facet(self, name: str) -> Json:
        """The first run facet of this name that any of the events has, those before the start first; empty when none has."""
        for kind in ("OTHER", "START", "RUNNING", *ENDS, LOST):
            said = self.said.get(kind)
            if said is not None and (found := said.facet(name)):
                return found
        return {}

    def ends(self) -> list[str]:
        """The terminal types that were reported, in the order in which they count; a verdict never comes after an outcome."""
        reported = [kind for kind in ENDS if kind in self.said]
        reported.sort(key=lambda kind: self.said[kind].first[0])
        if LOST in self.said and (
            not reported or self.said[LOST].first[0] <= self.said[reported[0]].first[0]
        ):
            reported.insert(0, LOST)
        return reported

    def event_id(self, *parts: str | bytes) -> str:
        """32 hexadecimal digits that depend on nothing but the run and these parts."""
        text = b"\0".join(
            part if isinstance(part, bytes) else part.encode() for part in (self.run_id, *parts)
        )
        return blake2b(text, digest_size=16, person=b"lastword-ol").hexdigest()


def gather(updates: Iterable[RunUpdate | None]) -> tuple[dict[str, Gathered], int, int]:
    """All runs by their UUID, in the order of first appearance; how many events are about runs, and how many about none.

    >>> gather([None])
    ({}, 0, 1)
    """
    runs: dict[str, Gathered] = {}
    counted = [0, 0]
    for update in updates:
        counted[update is None] += 1
        if update is not None:
            run = runs.get(update.run_id)
            if run is None:
                run = Gathered(update.run_id, update.order, update.namespace, update.name)
                runs[update.run_id] = run
            run.add(update)
    return runs, counted[0], counted[1]


def _kind(update: RunUpdate) -> str:
    facets = update.run_facets
    if update.kind == "START" and facets.get("lastword_event", {}).get("added") is True:
        return "OTHER"  # an export of ours put it there, for those who want a START; nobody began the work
    verdict = facets.get("lastword_verdict", {})
    if update.kind == "FAIL" and verdict.get("status_update_failed") is True:
        return LOST
    return update.kind


def _newest(known: dict[T, tuple[Order, Json]], key: T, order: Order, value: Json) -> None:
    if key not in known or known[key][0] < order:
        known[key] = (order, value)


def _sized(label: str, place: tuple[str, ...], value: Any) -> tuple[int, str, tuple[str, ...], Any]:
    """With its size in bytes; what cannot be stored at all is larger than any limit."""
    try:
        plain = json_of(value, label)
    except InvalidInput:
        return MAX_PAYLOAD_BYTES + 1, label, place, value
    encoded = json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
    return len(encoded.encode()) + len(label.encode()) + 4, label, place, plain


def _sanitised(facet: Json) -> tuple[Json, bool]:
    message = facet.get("message")
    clean = {key: value for key, value in facet.items() if key != "stackTrace"}
    clean["message"] = sanitise(message if isinstance(message, str) else "")
    return clean, "stackTrace" in facet

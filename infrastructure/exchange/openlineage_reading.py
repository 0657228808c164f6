"""Lines of OpenLineage run events, checked field by field. Nothing is written, and no rule of a run's life is applied here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any, NoReturn
from uuid import UUID

from ...domain.errors import InvalidInput
from ...domain.values import shown, utc
from .lines import object_of
from .openlineage_facets import Json

KINDS = ("START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER")
"""The event types of the specification, 2-0-2."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LONGEST_NAME = 4096


@dataclass(frozen=True, slots=True)
class RunUpdate:
    """One OpenLineage run event."""

    run_id: str
    """The UUID in lower case."""
    kind: str
    """One of `KINDS`; an event that says none is OTHER."""
    at: datetime
    namespace: str
    name: str
    """Of the job, as it stands there."""
    run_facets: Json
    job_facets: Json
    inputs: list[Json]
    outputs: list[Json]
    digest: bytes
    """The same for events with the same content, whatever the order of their keys."""

    @property
    def order(self) -> tuple[datetime, bytes]:
        """Events by time; those of one moment in an order that depends on nothing but their content."""
        return self.at, self.digest


def read_openlineage(lines: Iterable[bytes], name: str) -> Iterator[RunUpdate | None]:
    """The run events in the lines of a file; None for an event about a job or a dataset alone. Empty lines are skipped.

    `lines` may be a file opened for reading bytes; one line is in memory at a time. Raises `InvalidInput`, which names line
    and field.

    >>> next(read_openlineage([b'{"eventType": "DONE"}'], "events.jsonl"))
    Traceback (most recent call last):
    lastword.domain.errors.InvalidInput: events.jsonl, line 1, field eventType: expected START, RUNNING, COMPLETE, ABORT, FAIL or OTHER, found 'DONE'
    """
    for number, line in enumerate(lines, start=1):
        text = line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line
        if not text.strip():
            continue
        where = f"{name}, line {number}"
        data = object_of(text, where, allow_inf_nan=False)
        if "run" not in data and "eventType" not in data and ("job" in data or "dataset" in data):
            yield None
        else:
            yield _update(data, where)


def _update(data: Json, where: str) -> RunUpdate:
    fields = _Fields(data, where)
    kind = fields.get("eventType", optional=True)
    if kind is not None and kind not in KINDS:
        fields.refuse("eventType", "START, RUNNING, COMPLETE, ABORT, FAIL or OTHER", kind)
    return RunUpdate(
        run_id=fields.uuid("run.runId"),
        kind=kind or "OTHER",
        at=fields.moment("eventTime"),
        namespace=fields.text("job.namespace"),
        name=fields.text("job.name"),
        run_facets=fields.facets("run.facets"),
        job_facets=fields.facets("job.facets"),
        inputs=fields.datasets("inputs"),
        outputs=fields.datasets("outputs"),
        digest=blake2b(
            json.dumps(data, sort_keys=True, ensure_ascii=False).encode(), digest_size=16
        ).digest(),
    )


class _Fields:
    """The fields of one event, by their path; complains with place and name."""

    def __init__(self, data: Json, where: str) -> None:
        self._data = data
        self._where = where

    def get(self, path: str, *, optional: bool = False) -> Any:
        value: Any = self._data
        reached: list[str] = []
        for name in path.split("."):
            if not isinstance(value, dict):
                self.refuse(".".join(reached), "an object", value)
            value = value.get(name)
            reached.append(name)
            if value is None:
                if optional:
                    return None
                self.refuse(".".join(reached), "it to be there", None)
        return value

    def text(self, path: str) -> str:
        value = self.get(path)
        if not isinstance(value, str) or not value.strip() or len(value) > _LONGEST_NAME:
            self.refuse(path, f"text of 1 to {_LONGEST_NAME:,} characters", value)
        return value

    def uuid(self, path: str) -> str:
        value = self.get(path)
        try:
            return str(UUID(value))
        except (ValueError, TypeError, AttributeError):
            self.refuse(path, "a UUID", value)

    def moment(self, path: str) -> datetime:
        value = self.get(path)
        moment = _moment(value)
        if moment is None:
            self.refuse(path, "a time with its zone, such as 2026-02-05T02:00:00Z", value)
        return moment

    def facets(self, path: str) -> Json:
        value = self.get(path, optional=True)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.refuse(path, "an object", value)
        for name, facet in value.items():
            if not isinstance(facet, dict):
                self.refuse(f"{path}.{name}", "an object", facet)
        return value

    def datasets(self, path: str) -> list[Json]:
        value = self.get(path, optional=True)
        if value is None:
            return []
        if not isinstance(value, list):
            self.refuse(path, "a list", value)
        for number, dataset in enumerate(value):
            if not isinstance(dataset, dict):
                self.refuse(f"{path}[{number}]", "an object", dataset)
            for name in ("namespace", "name"):
                if not isinstance(dataset.get(name), str):
                    self.refuse(f"{path}[{number}].{name}", "text", dataset.get(name))
        return value

    def refuse(self, path: str, expected: str, found: object) -> NoReturn:
        """Raise `InvalidInput`."""
        what = "nothing" if found is None else shown(found)
        raise InvalidInput(f"{self._where}, field {path}: expected {expected}, found {what}")


def _moment(value: object) -> datetime | None:
    """None also for a date alone, which is a day, and for a naive time, which could be any moment of one."""
    if not isinstance(value, str) or "T" not in value.upper():
        return None
    try:
        return utc(datetime.fromisoformat(value))
    except ValueError:
        return None

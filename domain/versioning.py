"""Lifting old events: what every released shape of an event has become today.

An upcast takes the JSON of one version and gives the JSON of the next. To change an event's shape: raise its
`SCHEMA_VERSION`, add the step here, and keep a stored example of the old shape in `tests/histories/`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .errors import StoreCorrupt, UnsupportedSchema
from .events import RunEvent

Payload = dict[str, Any]
"""An event's facts as they lie in the store."""

UPCASTS: dict[tuple[str, int], Callable[[Payload], Payload]] = {}
"""By stored name and version: the step from that version to the next."""


def upcast(event_type: type[RunEvent], payload: Payload, version: int) -> Payload:
    """The payload in today's shape.

    Raises `UnsupportedSchema` for a version that a newer release wrote, `StoreCorrupt` for one that never was.

    >>> from .events import RunCompleted
    >>> upcast(RunCompleted, {"result": 1}, version=1)
    {'result': 1}
    """
    today = event_type.SCHEMA_VERSION
    if version > today:
        raise UnsupportedSchema(f"event {event_type.TOPIC}", version, today)
    while version < today:
        step = UPCASTS.get((event_type.TOPIC, version))
        if step is None:
            raise StoreCorrupt(
                f"event {event_type.TOPIC}: expected schema version 1 to {today}, found {version},"
                " which no release wrote; run `lastword verify`"
            )
        payload = step(payload)
        version += 1
    return payload

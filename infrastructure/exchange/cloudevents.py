"""One recorded event as a CloudEvent 1.0, and back. Pure: nothing here opens a file.

    id               the event's id
    source           the store that it comes from, a URI
    type             ``lastword.`` and the event's stored name
    subject          the run's id as text; `runidtype` says ``int`` or ``str``
    time             when it happened (`occurred_at`)
    data             the facts, without those that are None
    runversion       its number in the run's history
    position         its number in the store it comes from
    recordedat       when that store took it
    schemaversion    the version of the facts' shape
    actor, correlationid    left out where nobody said

The names of the extension attributes are lower case letters alone, as the specification has it:
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn, TypeVar

from pydantic import ValidationError

from ...domain.errors import InvalidInput, StoreCorrupt, UnsupportedSchema
from ...domain.events import BY_TOPIC, STORE_EVENT_TYPES, RecordedEvent, RunEvent
from ...domain.values import RunId, run_key, shown, utc
from ...domain.versioning import upcast

SPECVERSION = "1.0"
TYPE_PREFIX = "lastword."
"""Before the stored name of an event, so that types of different producers do not meet."""

LARGEST_INTEGER = 2**31 - 1
"""CloudEvents integers have 32 bits; a position beyond that is written as text."""
_EVENT_ID = re.compile(r"[0-9a-f]{32}")
_DIGITS = re.compile(r"[1-9][0-9]*")

T = TypeVar("T")


def to_cloudevent(recorded: RecordedEvent, source: str) -> dict[str, Any]:
    """The event as the JSON object of a CloudEvent. `source` is a URI that names the store, e.g. ``urn:uuid:...``.

    >>> from ...domain.events import RunCancelled
    >>> moment = datetime(2026, 2, 5, 2, tzinfo=UTC)
    >>> event = RecordedEvent(run_id=17, version=3, position=9, event_id="0" * 32,
    ...     event=RunCancelled(reason="user"), occurred_at=moment, recorded_at=moment)
    >>> made = to_cloudevent(event, "urn:example")
    >>> made["type"], made["subject"], made["runidtype"], made["time"], made["data"]
    ('lastword.RunCancelled', '17', 'int', '2026-02-05T02:00:00Z', {'reason': 'user'})
    >>> from_cloudevent(made, "line 1") == event
    True
    """
    position = recorded.position
    attributes: dict[str, Any] = {
        "specversion": SPECVERSION,
        "id": recorded.event_id,
        "source": source,
        "type": TYPE_PREFIX + recorded.type,
        "subject": str(recorded.run_id),
        "time": rfc3339(recorded.occurred_at),
        "datacontenttype": "application/json",
        "runidtype": "int" if isinstance(recorded.run_id, int) else "str",
        "runversion": recorded.version,
        "position": position if position <= LARGEST_INTEGER else str(position),
        "recordedat": rfc3339(recorded.recorded_at),
        "schemaversion": recorded.event.SCHEMA_VERSION,
    }
    if recorded.actor is not None:
        attributes["actor"] = recorded.actor
    if recorded.correlation_id is not None:
        attributes["correlationid"] = recorded.correlation_id
    return attributes | {"data": recorded.event.model_dump(mode="json", exclude_none=True)}


def from_cloudevent(data: Mapping[str, Any], where: str) -> RecordedEvent:
    """The recorded event in a CloudEvent that `to_cloudevent` made, its facts in today's shape.

    `where` names the place in messages, e.g. ``runs.jsonl, line 3``. Attributes that others added are left aside.
    Rules are not applied: what is recorded has happened. Raises `InvalidInput`, which names the field, and
    `UnsupportedSchema` for an event that a newer release wrote.

    >>> from_cloudevent({"specversion": "0.3"}, "line 1")
    Traceback (most recent call last):
    lastword.domain.errors.InvalidInput: line 1, field specversion: expected '1.0', found '0.3'
    """
    fields = _Fields(data, where)
    fields.read("specversion", _specversion)
    topic = fields.read("type", _topic)
    schema_version = fields.read("schemaversion", _count)
    event_type = BY_TOPIC.get(topic)
    if event_type is None:
        raise UnsupportedSchema(f"{where}, field type: event {topic!r}", schema_version, 0)
    if event_type in STORE_EVENT_TYPES:
        refuse(where, "type", f"expected an event of a run, found {topic}, which is one of a store")
    return RecordedEvent(
        run_id=fields.read("subject", _run_id(fields.read("runidtype", _run_id_type))),
        version=fields.read("runversion", _count),
        position=fields.read("position", _position),
        event_id=fields.read("id", _event_id),
        event=_event(event_type, fields.read("data", _object), schema_version, where),
        occurred_at=fields.read("time", _moment),
        recorded_at=fields.read("recordedat", _moment),
        actor=fields.read("actor", _text, optional=True),
        correlation_id=fields.read("correlationid", _text, optional=True),
    )


class _Fields:
    """The attributes of one event; complains with place and name."""

    def __init__(self, data: Mapping[str, Any], where: str) -> None:
        self._data = data
        self._where = where

    def read(self, name: str, check: Callable[[Any], T], *, optional: bool = False) -> T:
        value = self._data.get(name)
        if value is None:
            if optional:
                return value  # pyright: ignore[reportReturnType]  # T is None-able where it is optional
            refuse(self._where, name, "expected it to be there, found nothing")
        try:
            return check(value)
        except (ValueError, TypeError) as error:
            refuse(self._where, name, str(error))


def refuse(where: str, field: str, why: str) -> NoReturn:
    """Raise `InvalidInput` with the place in front.

    >>> refuse("line 3", "subject", "expected a run id, found ''")
    Traceback (most recent call last):
    lastword.domain.errors.InvalidInput: line 3, field subject: expected a run id, found ''
    """
    raise InvalidInput(f"{where}, field {field}: {why}")


def _event(
    event_type: type[RunEvent], payload: dict[str, Any], schema_version: int, where: str
) -> RunEvent:
    try:
        return event_type.model_validate(upcast(event_type, payload, schema_version))
    except UnsupportedSchema as error:
        raise UnsupportedSchema(
            f"{where}, field schemaversion: event {event_type.TOPIC}", error.found, error.supported
        ) from None
    except StoreCorrupt:
        refuse(
            where,
            "schemaversion",
            f"expected 1 to {event_type.SCHEMA_VERSION}, found {schema_version}, which no release wrote",
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(["data", *map(str, first["loc"])])
        refuse(where, field, f"{first['msg']}, found {shown(first['input'])}")
    except (
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
    ) as error:  # an upcast met what it did not expect
        refuse(
            where,
            "data",
            f"expected the facts of {event_type.TOPIC} in version {schema_version}, found something"
            f" else: {type(error).__name__}: {error}",
        )


def rfc3339(moment: datetime) -> str:
    """The moment as CloudEvents writes it.

    >>> rfc3339(datetime(2026, 2, 5, 2, tzinfo=UTC))
    '2026-02-05T02:00:00Z'
    """
    return moment.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"


def _specversion(value: Any) -> str:
    if value != SPECVERSION:
        raise ValueError(f"expected {SPECVERSION!r}, found {shown(value)}")
    return value


def _topic(value: Any) -> str:
    text = _text(value)
    if not text.startswith(TYPE_PREFIX):
        raise ValueError(
            f"expected a type that begins with {TYPE_PREFIX!r}, found {shown(text)};"
            " this is no event of a run"
        )
    return text.removeprefix(TYPE_PREFIX)


def _run_id_type(value: Any) -> str:
    if _text(value) not in {"int", "str"}:
        raise ValueError(f"expected 'int' or 'str', found {shown(value)}")
    return value


def _run_id(kind: str) -> Callable[[Any], RunId]:
    def check(value: Any) -> RunId:
        key = run_key(_text(value))
        if kind == "str":
            return key
        try:
            number = int(key)
        except ValueError:
            number = None
        if number is None or str(number) != key:
            raise ValueError(f"expected digits, as runidtype is 'int', found {shown(key)}")
        return number

    return check


def _event_id(value: Any) -> str:
    if not isinstance(value, str) or _EVENT_ID.fullmatch(value) is None:
        raise ValueError(f"expected 32 hexadecimal digits in lower case, found {shown(value)}")
    return value


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST_INTEGER:
        raise ValueError(f"expected a whole number from 1 on, found {shown(value)}")
    return value


def _position(value: Any) -> int:
    if isinstance(value, str) and len(value) < 20 and _DIGITS.fullmatch(value):
        return int(value)
    return _count(value)


def _moment(value: Any) -> datetime:
    text = _text(value)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"expected a time such as 2026-02-05T02:00:00Z, found {shown(text)}"
        ) from None
    return utc(moment)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, found {type(value).__name__} {shown(value)}")
    return value


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"expected an object, found {type(value).__name__} {shown(value)}")
    return value

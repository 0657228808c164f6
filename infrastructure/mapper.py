"""Events to bytes and back.

The payload is the JSON that pydantic writes, without fields that are None. The envelope lies beside it, in columns of
its own (`EVENT_COLUMNS`), so that a store can order and filter without decoding. The key ``"v"`` in the JSON is the shape's
version; it is left out for version 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import JSONTranscoder, Mapper, StoredEvent
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, from_json

from ..domain.errors import InvalidInput, StoreCorrupt, UnsupportedSchema
from ..domain.events import BY_TOPIC, Evidence, RecordedEvent, RunEvent, RunStarted
from ..domain.leaves import Leaves
from ..domain.values import (
    EARLIEST_MICROS,
    LATEST_MICROS,
    ErrorInfo,
    Owner,
    RunId,
    from_micros,
    run_key,
    to_micros,
)
from ..domain.versioning import Payload, upcast
from ..projections.flags import Flag
from ..projections.ports import NewEvent
from ..projections.run_view import RunView

EVENT_COLUMNS = (
    "position",
    "originator_id",
    "originator_version",
    "topic",
    "state",
    "event_id",
    "occurred_at",
    "recorded_at",
    "actor",
    "correlation_id",
    "int_id",
)
"""What a store keeps of one event, in the order that `recorded_event` takes."""

_VERSION = "v"
_ENVELOPE = frozenset(RecordedEvent.model_fields)
_set = object.__setattr__  # the model is frozen

for _model in (
    Owner,
    ErrorInfo,
    Evidence,
    Leaves,
    *BY_TOPIC.values(),
    RecordedEvent,
    Flag,
    RunView,
):
    _model.model_rebuild()  # deferred so far, as it takes long; from here on several threads may use them


@dataclass(frozen=True, init=False)
class StoredRunEvent(StoredEvent):
    """A stored event together with its envelope; what a store that keeps only the four base fields would lose.

    Times are microseconds since 1970. `position` and `recorded_at` are None until the store gives them.
    """

    event_id: bytes
    occurred_at: int
    actor: str | None
    correlation_id: str | None
    int_id: int | None
    """1 when the run was created with an int for an id."""
    recorded_at: int | None
    position: int | None

    def __init__(
        self,
        originator_id: str,
        originator_version: int,
        topic: str,
        state: bytes,
        *,
        event_id: bytes,
        occurred_at: int,
        actor: str | None = None,
        correlation_id: str | None = None,
        int_id: int | None = None,
        recorded_at: int | None = None,
        position: int | None = None,
    ) -> None:
        # The __init__ that a frozen dataclass gets takes three times as long; this is on the path of every append.
        self.__dict__.update(
            originator_id=originator_id,
            originator_version=originator_version,
            topic=topic,
            state=state,
            event_id=event_id,
            occurred_at=occurred_at,
            actor=actor,
            correlation_id=correlation_id,
            int_id=int_id,
            recorded_at=recorded_at,
            position=position,
        )

    @property
    def columns(self) -> tuple[Any, ...]:
        """The values in the order of `EVENT_COLUMNS`."""
        return tuple(getattr(self, column) for column in EVENT_COLUMNS)


class EventMapper(Mapper[str]):
    """The mapper of the eventsourcing library, over pydantic's JSON and with topics that never change.

    >>> from datetime import UTC, datetime
    >>> from lastword.domain.events import RunCreated
    >>> new = NewEvent("0" * 32, RunCreated(name="import"), datetime(2026, 2, 5, tzinfo=UTC))
    >>> stored = EventMapper().stored(new, run_id=17, version=1)
    >>> stored.originator_id, stored.topic
    ('17', 'RunCreated')
    """

    def __init__(self) -> None:
        super().__init__(transcoder=JSONTranscoder())  # the base class asks for one; it is not used

    def stored(
        self, new: NewEvent, run_id: RunId, version: int, correlation_id: str | None = None
    ) -> StoredRunEvent:
        """A new event as it will be stored. Raises `InvalidInput` for what JSON cannot say."""
        return StoredRunEvent(
            originator_id=str(run_id),
            originator_version=version,
            topic=new.event.TOPIC,
            state=encode_event(new.event),
            event_id=bytes.fromhex(new.event_id),
            occurred_at=to_micros(new.occurred_at),
            actor=new.actor,
            correlation_id=correlation_id,
            int_id=1 if isinstance(run_id, int) else None,
        )

    def to_stored_event(
        self, domain_event: DomainEventProtocol[str] | RecordedEvent
    ) -> StoredRunEvent:
        """A `RecordedEvent` as it is stored."""
        recorded = cast("RecordedEvent", domain_event)
        return StoredRunEvent(
            originator_id=run_key(recorded.run_id),
            originator_version=recorded.version,
            topic=recorded.type,
            state=encode_event(recorded.event),
            event_id=bytes.fromhex(recorded.event_id),
            occurred_at=to_micros(recorded.occurred_at),
            actor=recorded.actor,
            correlation_id=recorded.correlation_id,
            int_id=1 if isinstance(recorded.run_id, int) else None,
            recorded_at=to_micros(recorded.recorded_at),
            position=recorded.position,
        )

    def to_domain_event(self, stored_event: StoredEvent) -> DomainEventProtocol[str]:
        """A stored event as a `RecordedEvent`. Raises `StoreCorrupt`, `UnsupportedSchema`."""
        if not isinstance(stored_event, StoredRunEvent):
            raise StoreCorrupt(
                f"run {stored_event.originator_id}, version {stored_event.originator_version}:"
                " expected an event with its envelope, found the four base fields alone;"
                " read it through a Lastword store"
            )
        return cast("DomainEventProtocol[str]", recorded_event(stored_event.columns))


def encode_event(event: RunEvent) -> bytes:
    """The event's facts as JSON, without those that are as the class says when nobody does: a default belongs to the shape of an event, and
    changes with its `SCHEMA_VERSION` alone. Raises `InvalidInput` for what JSON cannot say.

    >>> from lastword.domain.events import RunFailed, ErrorInfo
    >>> encode_event(RunFailed(error=ErrorInfo(type="E", message="m")))
    b'{"error":{"type":"E","message":"m"}}'
    """
    global _last_encoded  # noqa: PLW0603  # both parts are replaced at once
    last, state = _last_encoded
    if last is event:
        return state
    state = _encoded(event)
    if type(event) is RunStarted:
        _last_encoded = (event, state)
    return state


_last_encoded: tuple[RunEvent | None, bytes] = (None, b"")
"""A process says the same of all runs that it starts, with one object."""


def _encoded(event: RunEvent) -> bytes:
    try:
        # what `model_dump_json` calls, without the way over a str
        state = event.__pydantic_serializer__.to_json(
            event, exclude_none=True, exclude_defaults=True
        )
    except (PydanticSerializationError, ValueError) as error:
        raise InvalidInput(
            f"event {event.TOPIC}: expected plain JSON in UTF-8, found something else: {error}"
        ) from error
    if event.SCHEMA_VERSION == 1:
        return state
    head = b'{"%s":%d' % (_VERSION.encode(), event.SCHEMA_VERSION)
    return head + (b"}" if state == b"{}" else b"," + state[1:])


def decode_event(topic: str, state: bytes, where: str) -> RunEvent:
    """The event behind a stored name and its JSON, in today's shape. `where` goes into the error's message.

    Raises `UnsupportedSchema` for a name or a version that this release does not know, `StoreCorrupt` for all else.

    >>> decode_event("RunCompleted", b'{"result":1}', "run 17")
    RunCompleted(result=1, note=None)
    """
    event_type = BY_TOPIC.get(topic)
    if event_type is None:
        raise UnsupportedSchema(f"{where}: event {topic!r}", _version_in(state), 0)
    today = event_type.SCHEMA_VERSION
    if today == 1:
        body = state
    else:  # ours begin with the version; what does not is older, newer or damaged
        head = b'{"%s":%d' % (_VERSION.encode(), today)
        if not isinstance(state, bytes) or not state.startswith((head + b",", head + b"}")):
            return _lifted(event_type, state, where)
        rest = state[len(head) :]
        body = b"{}" if rest == b"}" else b"{" + rest[1:]
    try:
        event = event_type.model_validate_json(body)
    except ValidationError:
        return _lifted(event_type, state, where)  # a newer shape, or says what is wrong
    extra = event.model_extra
    if extra and _VERSION in extra:
        return _lifted(event_type, state, where)
    return event


def is_plain(columns: Sequence[Any]) -> bool:
    """Whether the values of an event's row are of the kinds that they are written in, and its times are times: then `recorded_event` finds
    nothing wrong with them, unless with the facts or the id. Who reads many events need not make an object of each to know.

    >>> is_plain((1, "17", 1, "RunCreated", b"{}", bytes(16), 0, 0, None, None, 1)), is_plain((1, "17", 1, "RunCreated", "{}", None, 0, 0, None, None, 1))
    (True, False)
    """
    position, key, version, topic, state, event_id, at, recorded_at, actor, correlation_id, int_id = columns  # fmt: skip
    # one after the other: half the time of looking a tuple of types up in a set
    return (
        type(position) is int
        and type(key) is str
        and type(version) is int
        and type(topic) is str
        and type(state) is bytes
        and type(event_id) is bytes
        and type(at) is int
        and type(recorded_at) is int
        and (actor is None or type(actor) is str)
        and (correlation_id is None or type(correlation_id) is str)
        and (int_id is None or type(int_id) is int)
        and EARLIEST_MICROS <= at <= LATEST_MICROS
        and EARLIEST_MICROS <= recorded_at <= LATEST_MICROS
    )


def recorded_event(columns: Sequence[Any]) -> RecordedEvent:
    """The event in one row of a store; `columns` are in the order of `EVENT_COLUMNS`, times in microseconds.

    Raises `UnsupportedSchema` and `StoreCorrupt`; both name the run, the version and the position.
    """
    (
        position,
        key,
        version,
        topic,
        state,
        event_id,
        occurred_at,
        recorded_at,
        actor,
        correlation_id,
        int_id,
    ) = columns
    try:
        event = decode_event(topic, state, "event")
    except (UnsupportedSchema, StoreCorrupt):
        event = decode_event(topic, state, f"run {key}, version {version}, position {position}")
    try:
        return enveloped(
            event,
            run_id=int(key) if int_id else key,
            version=version + 0,
            position=position + 0,
            event_id=event_id.hex(),
            occurred_at=from_micros(occurred_at),
            recorded_at=from_micros(recorded_at),
            actor=actor,
            correlation_id=correlation_id,
        )
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise StoreCorrupt(
            f"run {key}, version {version}, position {position}: expected an event's envelope,"
            f" found {_in_short(error)}; restore the store from a backup"
        ) from error


def enveloped(
    event: RunEvent,
    *,
    run_id: RunId,
    version: int,
    position: int,
    event_id: str,
    occurred_at: datetime,
    recorded_at: datetime,
    actor: str | None,
    correlation_id: str | None,
) -> RecordedEvent:
    """A `RecordedEvent` of values that are known to be right, times in UTC; a third of the cost of validating them again.

    >>> from datetime import UTC, datetime
    >>> from lastword.domain.events import RunCancelled
    >>> known = dict(run_id=1, version=1, position=1, event_id="0" * 32, actor=None, correlation_id=None)
    >>> now = datetime(2026, 2, 5, tzinfo=UTC)
    >>> fast = enveloped(RunCancelled(), occurred_at=now, recorded_at=now, **known)
    >>> fast == RecordedEvent(event=RunCancelled(), occurred_at=now, recorded_at=now, **known)
    True
    """
    recorded = RecordedEvent.__new__(RecordedEvent)
    _set(
        recorded,
        "__dict__",
        {
            "run_id": run_id,
            "version": version,
            "position": position,
            "event_id": event_id,
            "event": event,
            "occurred_at": occurred_at,
            "recorded_at": recorded_at,
            "actor": actor,
            "correlation_id": correlation_id,
        },
    )
    _set(recorded, "__pydantic_fields_set__", set(_ENVELOPE))
    _set(recorded, "__pydantic_extra__", None)
    _set(recorded, "__pydantic_private__", None)
    return recorded


def _lifted(event_type: type[RunEvent], state: bytes, where: str) -> RunEvent:
    """The long way: look at the version first, lift, then validate."""
    try:
        payload: Any = from_json(state)
        if not isinstance(payload, dict):
            raise TypeError(f"a JSON object expected, found {type(payload).__name__}")  # noqa: TRY301  # becomes StoreCorrupt below
        version = payload.pop(_VERSION, 1)
        if isinstance(version, bool) or not isinstance(version, int) or version < 1:
            raise ValueError(f"the version {version!r:.40}")  # noqa: TRY301  # becomes StoreCorrupt below
        return event_type.model_validate(upcast(event_type, cast("Payload", payload), version))
    except UnsupportedSchema as error:
        raise UnsupportedSchema(
            f"{where}: event {event_type.TOPIC}", error.found, error.supported
        ) from None
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise StoreCorrupt(
            f"{where}: expected the JSON of {event_type.TOPIC}, found something else:"
            f" {_in_short(error)}; restore the store from a backup, or see `lastword verify`"
        ) from error


def _version_in(state: bytes) -> int:
    try:
        payload: Any = from_json(state)
        version = payload.get(_VERSION, 1)
    except (ValueError, TypeError, AttributeError):
        return 1
    return version if isinstance(version, int) else 1


def _in_short(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        return f"{place}: {first['msg']}" if place else first["msg"]
    return f"{type(error).__name__}: {error}"[:200]

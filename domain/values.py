"""Values that events and commands are made of, and the limits they keep."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, JsonValue

from .errors import InvalidInput

RunId = int | str
"""What a caller names a run by. ``1`` and ``"1"`` name the same run."""

MAX_RUN_ID_LENGTH = 200
"""Characters in a run id."""
MAX_NAME_LENGTH = 200
"""Characters in a run's name, and in a step, an actor, a reason's author or a key."""
MAX_PAYLOAD_BYTES = 64 * 1024
"""Bytes of UTF-8 JSON in ``params`` or in a ``result``, unless the settings say otherwise."""
MAX_PAYLOAD_DEPTH = 100
"""Lists and objects inside each other in a payload; the JSON reader gives up at 200."""
MAX_TAGS = 100
"""Tags on one run."""
MAX_TAG_LENGTH = 200
"""Characters in a tag's key or value."""
MAX_TEXT_LENGTH = 1024
"""Characters in a progress message, a step or a cancellation reason."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def _as_utc(value: datetime) -> datetime:
    if value.tzinfo is UTC:
        return value
    if value.utcoffset() is None:
        raise ValueError(
            "a time needs a time zone; a naive datetime could mean any moment of a day"
        )
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("a time needs a year from 1 to 9999 in UTC") from None


Utc = Annotated[datetime, AfterValidator(_as_utc)]
"""An aware moment, kept in UTC with microseconds. A naive datetime is refused."""


def utc(value: datetime, what: str = "time") -> datetime:
    """The same moment in UTC.

    Raises `InvalidInput` for a naive datetime, or what is no datetime at all.

    >>> from datetime import timezone, timedelta
    >>> utc(datetime(2026, 2, 5, 23, tzinfo=timezone(timedelta(hours=1)))).isoformat()
    '2026-02-05T22:00:00+00:00'
    """
    if not isinstance(value, datetime):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may be untyped
        raise InvalidInput(
            f"{what}: expected an aware datetime, found {type(value).__name__} {shown(value)}"
        )
    if value.utcoffset() is None:
        raise InvalidInput(
            f"{what}: expected an aware datetime, found naive {value.isoformat()};"
            " say which zone it is in, e.g. datetime.now(UTC)"
        )
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise InvalidInput(
            f"{what}: expected a year from 1 to 9999 in UTC, found {value.isoformat()}"
        ) from None


def position_of(value: int, what: str) -> int:
    """The position of an event in a store: 0 stands before the first one. Raises `InvalidInput` for anything else than a number.

    >>> position_of(17, "after")
    17
    """
    whole = isinstance(value, int) and not isinstance(value, bool)  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may be untyped
    if not whole or value >= 2**63:
        raise InvalidInput(f"{what}: expected a position, a whole number, found {shown(value)}")
    return value


def to_micros(moment: datetime) -> int:
    """Whole microseconds since 1970-01-01 UTC; exact, unlike ``timestamp()``.

    >>> to_micros(datetime(1970, 1, 1, 0, 0, 1, 5, tzinfo=UTC))
    1000005
    """
    return (moment - EPOCH) // _MICROSECOND


EARLIEST_MICROS = to_micros(datetime.min.replace(tzinfo=UTC))
LATEST_MICROS = to_micros(datetime.max.replace(tzinfo=UTC))
"""What `from_micros` can make a moment of."""


def from_micros(micros: int) -> datetime:
    """The moment that many microseconds after 1970-01-01 UTC.

    >>> from_micros(1000005).isoformat()
    '1970-01-01T00:00:01.000005+00:00'
    """
    return EPOCH + _MICROSECOND * micros  # sooner done than timedelta(0, 0, micros)


def shown(value: object) -> str:
    """The beginning of the value's repr, for a message about what was found.

    >>> shown("x" * 1000) == "'" + "x" * 59
    True
    """
    try:
        return f"{value!r:.60}"
    except Exception:  # noqa: BLE001  # a caller's __repr__ may raise anything; an int of 5,000 digits does
        return f"a {type(value).__name__} that cannot be shown"


def run_key(run_id: object) -> str:
    """The one text under which a run is stored: ``1`` and ``"1"`` give the same.

    Raises `InvalidInput` for anything but an int or 1 to 200 printable characters.

    >>> run_key(1) == run_key("1")
    True
    """
    if (
        type(run_id) is str
        and 0 < len(run_id) <= MAX_RUN_ID_LENGTH
        and run_id.isprintable()
        and run_id[0] != " " != run_id[-1]
    ):
        return run_id  # by far the most common case; no other space is printable
    if isinstance(run_id, bool) or not isinstance(run_id, int | str):
        raise InvalidInput(
            f"run id: expected a str or an int, found {type(run_id).__name__} {shown(run_id)}"
        )
    if isinstance(run_id, int) and run_id.bit_length() > 700:  # 200 digits are 665 bits
        raise InvalidInput(
            f"run id: expected at most {MAX_RUN_ID_LENGTH} digits, found a longer number"
        )
    key = run_id if type(run_id) is str else str(run_id)
    if not 1 <= len(key) <= MAX_RUN_ID_LENGTH or not key.isprintable() or key != key.strip():
        raise InvalidInput(
            f"run id: expected 1 to {MAX_RUN_ID_LENGTH} printable characters without space at the ends,"
            f" found {len(key)} characters {shown(key)}"
        )
    return key


def name_of(value: object, what: str = "name") -> str:
    """A short printable text that is not empty, such as a run's name.

    Raises `InvalidInput`.

    >>> name_of("import")
    'import'
    """
    if not isinstance(value, str):
        raise InvalidInput(f"{what}: expected a str, found {type(value).__name__}")
    if not value.strip() or len(value) > MAX_NAME_LENGTH or not value.isprintable():
        raise InvalidInput(
            f"{what}: expected 1 to {MAX_NAME_LENGTH} printable characters, found {shown(value)}"
        )
    return value


def tags_of(value: object) -> dict[str, str]:
    """Tags as they are stored.

    Raises `InvalidInput` when a key or value is not a str, is too long, or there are more than 100.

    >>> tags_of({"team": "data"})
    {'team': 'data'}
    """
    if type(value) is dict and not value:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidInput(f"tags: expected a mapping of str to str, found {type(value).__name__}")
    tags = cast("Mapping[object, object]", value)
    if len(tags) > MAX_TAGS:
        raise InvalidInput(
            f"tags: expected at most {MAX_TAGS}, found {len(tags)}; put the rest into params"
        )
    result: dict[str, str] = {}
    for key, text in tags.items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise InvalidInput(
                f"tags: expected str keys and values, found {shown(key)}: {shown(text)};"
                f" write {shown(key if isinstance(text, str) else text)!r}"
            )
        if not key or len(key) > MAX_TAG_LENGTH or len(text) > MAX_TAG_LENGTH:
            raise InvalidInput(
                f"tags: expected 1 to {MAX_TAG_LENGTH} characters for a key and at most"
                f" {MAX_TAG_LENGTH} for a value, found {len(key)} and {len(text)} at {shown(key)}"
            )
        _encodable(key + text, "tags")
        result[key] = text
    return result


def text_of(value: object, what: str, limit: int = MAX_TEXT_LENGTH) -> str:
    """A message for people of at most `limit` characters. Raises `InvalidInput`.

    >>> text_of("12 of 40 files", "message")
    '12 of 40 files'
    """
    if not isinstance(value, str):
        raise InvalidInput(f"{what}: expected a str, found {type(value).__name__}")
    if len(value) > limit:
        raise InvalidInput(f"{what}: expected at most {limit} characters, found {len(value)}")
    _encodable(value, what)
    return value


def json_of(value: object, what: str, limit: int = MAX_PAYLOAD_BYTES) -> JsonValue:
    """The value as plain JSON: tuples become lists; nothing else is converted.

    `limit` is in bytes of encoded UTF-8. Raises `InvalidInput` for what JSON cannot say (NaN, sets, objects,
    keys that are not str), for what is nested deeper than 100 levels, and for what is too large.

    >>> json_of({"rows": (1, 2)}, "result")
    {'rows': [1, 2]}
    """
    if value is None or isinstance(value, bool):
        return value
    if type(value) is dict and limit >= _SMALL and _is_small(cast("dict[object, object]", value)):
        return {**cast("dict[str, JsonValue]", value)}
    try:
        plain = _plain(cast("object", value))
        size = len(_JSON.encode(value).encode())
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{what}: expected plain JSON, found something else: {error}") from None
    if size > limit:
        raise InvalidInput(
            f"{what}: expected at most {limit:,} bytes of JSON, found {size:,};"
            " store it elsewhere and keep a reference here"
        )
    return cast("JsonValue", plain)


_JSON = json.JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":"))
_SCALARS = frozenset({str, int, float, bool, type(None)})


_FEW, _SHORT, _BITS = 8, 60, 64
_SMALL = _FEW * 2 * (6 * _SHORT + 4)
"""Bytes; no dict that `_is_small` takes has more as JSON."""


def _is_small(value: dict[object, object]) -> bool:
    """Whether it is plain JSON that needs no measuring: a few short values, as most results are."""
    if len(value) > _FEW:
        return False
    for key, item in value.items():
        if type(key) is not str or len(key) > _SHORT or not key.isascii():
            return False
        kind = type(item)
        if kind is str:
            text = cast("str", item)
            if len(text) > _SHORT or not text.isascii():
                return False
        elif kind is int:
            if cast("int", item).bit_length() > _BITS:
                return False
        elif kind is not bool and item is not None:
            return False
    return True


def _plain(value: object, depth: int = 0) -> object:
    """A copy as JSON would give it back. Refuses what json.dumps lets pass: it turns the key 1 into "1", and nests deeper than a reader
    can follow.
    """
    if type(value) in _SCALARS:
        return value
    if not isinstance(value, dict | list | tuple):
        return json.loads(
            _JSON.encode(value)
        )  # a kind of str, int or float; or what JSON cannot say
    if depth >= MAX_PAYLOAD_DEPTH:
        raise ValueError(f"more than {MAX_PAYLOAD_DEPTH} levels inside each other")
    if not isinstance(value, dict):
        return [_plain(item, depth + 1) for item in cast("list[object]", value)]
    found: dict[str, object] = {}
    for key, item in cast("dict[object, object]", value).items():
        if not isinstance(key, str):
            raise TypeError(f"the key {shown(key)} is {type(key).__name__}, not str")
        found[key if type(key) is str else str.__str__(key)] = _plain(item, depth + 1)
    return found


def _encodable(text: str, what: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"{what}: expected text that UTF-8 can hold, found {error.reason}"
        ) from None


class Owner(BaseModel, frozen=True, extra="allow", defer_build=True):
    """The process that executes a run.

    A pid alone is not enough: it is reused. The start time tells two processes with one pid apart, the boot id
    two boots of one host, and the pid namespace two containers with one host name.

    >>> Owner(host="db1", pid=17, started_at=EPOCH).key
    'db1|17|0||'
    """

    host: str
    """Host name."""
    pid: int
    """Process id, as the process itself sees it."""
    started_at: Utc
    """When the process started."""
    boot_id: str | None = None
    """Identifies one boot of the host; None where the system has no such thing."""
    namespace: str | None = None
    """Identifies the pid namespace (container); None where the system has no such thing."""

    @property
    def key(self) -> str:
        """The text under which this owner's lease is stored."""
        return f"{self.host}|{self.pid}|{to_micros(self.started_at)}|{self.boot_id or ''}|{self.namespace or ''}"


class ErrorInfo(BaseModel):
    """What went wrong, sanitised.

    >>> ErrorInfo(type="ValueError", message="no rows").type
    'ValueError'
    """

    model_config = ConfigDict(frozen=True, extra="allow", defer_build=True)

    type: str
    """Name of the exception class, or ``ExitCode`` / ``Signal`` for a command."""
    message: str
    """At most 1,024 characters, sanitised."""
    traceback: str | None = None
    """At most 16 KiB, sanitised; None unless the caller asked to store it."""


def as_json(model: BaseModel) -> dict[str, Any]:
    """The model as JSON-ready values.

    >>> as_json(ErrorInfo(type="E", message="m"))
    {'type': 'E', 'message': 'm', 'traceback': None}
    """
    return model.model_dump(mode="json")

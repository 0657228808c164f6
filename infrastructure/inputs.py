"""From what people type to what the tracker takes. Everything here raises `InvalidInput` with the remedy."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from datetime import datetime, timedelta

from pydantic import JsonValue

from ..domain.errors import InvalidInput
from ..domain.values import utc

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_SPAN = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*([smhdw]?)")


def span_of(text: str, what: str) -> timedelta:
    """Seconds, or a number with s, m, h, d or w behind it.

    >>> span_of("90", "timeout"), span_of("2h", "since")
    (datetime.timedelta(seconds=90), datetime.timedelta(seconds=7200))
    """
    match = _SPAN.fullmatch(text.strip())
    if match is None:
        raise InvalidInput(
            f"{what}: expected seconds, or a number with s, m, h, d or w, found {text!r:.60}; e.g. 90 or 2h"
        )
    try:
        return timedelta(seconds=float(match[1]) * _SECONDS[match[2]])
    except OverflowError:
        raise InvalidInput(
            f"{what}: expected less than a million years, found {text!r:.60}"
        ) from None


def moment_of(text: str, what: str, now: datetime) -> datetime:
    """An ISO time with its zone, or how long ago.

    >>> from datetime import UTC
    >>> moment_of("2h", "since", datetime(2026, 2, 5, 12, tzinfo=UTC)).isoformat()
    '2026-02-05T10:00:00+00:00'
    """
    if re.fullmatch(r"[\d.]+\s*[smhdw]", text.strip()):
        try:
            return now - span_of(text, what)
        except OverflowError:
            raise InvalidInput(
                f"{what}: expected a time after the year 1, found {text!r}"
            ) from None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(
            f"{what}: expected a time such as 2026-02-05T22:00Z, or how long ago such as 2h or 3d, found {text!r:.60}"
        ) from None
    if moment.tzinfo is None:
        raise InvalidInput(
            f"{what}: expected a time with its zone, found {text!r:.60}; write {moment.isoformat(timespec='minutes')}Z for UTC"
        )
    return utc(moment, what)


def pairs_of(texts: Iterable[str], what: str) -> dict[str, str]:
    """Each ``key=value``.

    >>> pairs_of(["team=data", "note=a=b"], "tag")
    {'team': 'data', 'note': 'a=b'}
    """
    pairs: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InvalidInput(f"{what}: expected key=value, found {text!r:.60}; e.g. team=data")
        pairs[key] = value
    return pairs


def params_of(texts: Iterable[str]) -> dict[str, JsonValue]:
    """Each ``key=JSON``; what is not JSON is taken as text.

    >>> params_of(["rows=10", "folder=in"])
    {'rows': 10, 'folder': 'in'}
    """
    return {key: _json_or_text(text) for key, text in pairs_of(texts, "param").items()}


def number_of(text: str, what: str) -> float | int:
    """A finite number.

    >>> number_of("3", "current"), number_of("0.5", "current")
    (3, 0.5)
    """
    try:
        return int(text)
    except ValueError:
        pass  # perhaps it has a fraction
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InvalidInput(f"{what}: expected a number, found {text!r:.60}; e.g. 3 or 0.5")
    return number


def _json_or_text(text: str) -> JsonValue:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text

"""Interrupts at any place: what Ctrl-C does, and a handler of a signal that raises."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType

STORE = (
    "lastword.infrastructure.sqlite",
    "lastword.infrastructure.postgres",
    "lastword.infrastructure.storing",
)


def interrupted_at(number: int, action: Callable[[], object]) -> str | None:
    """Raise `KeyboardInterrupt` when the store enters or leaves its so manieth call; where that was, None when there are not so many."""
    left, where = number, None

    def look(frame: FrameType, event: str, _: object) -> None:
        nonlocal left, where
        name = frame.f_code.co_qualname
        if event in {"call", "c_return"} and frame.f_globals.get("__name__", "").startswith(STORE):
            left -= 1
            if left == 0:
                where = f"{event} in {name}, line {frame.f_lineno}"
                sys.setprofile(None)
                raise KeyboardInterrupt

    sys.setprofile(look)
    try:
        action()
    except KeyboardInterrupt:
        pass
    finally:
        sys.setprofile(None)
    return where

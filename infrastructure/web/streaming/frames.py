"""The wire format of server-sent events."""

from __future__ import annotations

KEEPALIVE = b": still here\n\n"
OPENING = b"retry: 2000\n: connected\n\n"
"""Goes first, so that the client knows at once that it is connected, and when to come back."""


def frame(data: str, *, event: str | None = None, id: int | None = None) -> bytes:  # noqa: A002  # the field's name
    r"""One event; `data` is JSON on one line.

    >>> frame('{"a": 1}', event="complete", id=7)
    b'id: 7\nevent: complete\ndata: {"a": 1}\n\n'
    """
    head = "" if id is None else f"id: {id}\n"
    kind = "" if event is None else f"event: {event}\n"
    return f"{head}{kind}data: {data}\n\n".encode()

"""One stream for a page that is open: every last word behind its position, and a hint when anything else has happened.

    catching up   last words only, from their index: a page that was away for a day is told what ended, and nothing else
    then          last words, and for everything else one `event: change`, at most a few times a second

A hint says nothing but that it is worth asking for the page again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from time import monotonic

from fastapi import Request, Response

from ....domain.errors import InvalidInput
from ....domain.events import TERMINAL_TOPICS
from ....domain.values import shown
from ..desk import Desk
from ..problems import answer_to
from ..streaming.frames import KEEPALIVE, frame
from ..streaming.hub import Listener
from ..streaming.response import EventStream

_PAUSE_SECONDS = 0.25
"""After something was sent: so that a busy store does not send thousands of hints."""
_DIGITS = 18
"""More than any position has."""


class News:
    """The handler, over one desk."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def stream(self, request: Request) -> Response:
        """What comes behind ``?after=``. Each frame has its position as id; a page goes on from the last one that it got."""
        desk = self._desk
        try:
            after = _position_of(request.query_params.get("after", "0"))
            newest = await desk.ask(desk.tracker.store.last_position)
            listener = desk.hub.listen(after, topics=TERMINAL_TOPICS)
        except Exception as error:  # noqa: BLE001  # a script reads the answer, not a person
            return answer_to(error)
        client = request.client.host if request.client else "unknown"
        try:
            return EventStream(_frames(desk, listener, newest), listener, desk.turnstile, client)
        except Exception as error:  # noqa: BLE001  # it has as many streams as it may have
            listener.leave()
            return answer_to(error)


async def _frames(desk: Desk, listener: Listener, newest: int) -> AsyncGenerator[bytes]:
    sent_at = monotonic()
    while True:
        if listener.position >= newest:
            listener.hear_everything()
        found = await listener.next(desk.keepalive_seconds)
        chunk = b"".join(told.completion for told in found)
        if any(told.signal is None for told in found):
            chunk += frame("{}", event="change", id=found[-1].position)
        if chunk or monotonic() - sent_at >= desk.keepalive_seconds:
            yield chunk or KEEPALIVE
            sent_at = monotonic()
        if chunk:
            await asyncio.sleep(_PAUSE_SECONDS)


def _position_of(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > _DIGITS:
        raise InvalidInput(f"after: expected a position, found {shown(text)}")
    return int(text)

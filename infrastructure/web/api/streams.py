"""Server-sent events: one run until its last word, and the completion feed as it grows."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from time import monotonic
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from ....domain.errors import StoreUnavailable
from ....domain.events import TERMINAL_EVENTS, TERMINAL_TOPICS
from ....projections.run_view import RunView
from ...managing.endings import Claim, Ending, Message, ending_of
from ...tracking.tracker import RunTracker
from ..desk import Desk
from ..routing import errors
from ..streaming.frames import KEEPALIVE, frame
from ..streaming.hub import Listener, Told
from ..streaming.local import LocalMessages
from ..streaming.response import EventStream
from .answers import RunPath
from .feed import After, Position

LastEventId = Annotated[
    Position | None,
    Header(
        description="The `id` of the last event that arrived; wins over `after`. Browsers send it by themselves."
    ),
]


class RunStreamQuery(BaseModel):
    """Where to go on."""

    model_config = ConfigDict(extra="forbid")

    after: Position | None = Field(
        default=None,
        description="Only messages that stand behind this position; the end is told in any case.",
    )


class FeedStreamQuery(BaseModel):
    """Where to go on."""

    model_config = ConfigDict(extra="forbid")

    after: After = 0


_RUN_EXAMPLE = """retry: 2000
: connected

id: 42
data: {"run_id": 17, "type": "RunStarted", "position": 42, ...}

id: 43
data: {"run_id": 17, "type": "RunCompleted", "position": 43, ...}

id: 43
event: complete
data: {"run_id": 17, "complete": true, "db_status": "completed"}

"""
_FEED_EXAMPLE = """retry: 2000
: connected

id: 43
event: complete
data: {"run_id": 17, "complete": true, "db_status": "completed"}

"""


def _stream(description: str, example: str, *more: int) -> dict[int | str, dict[str, Any]]:
    content = {"text/event-stream": {"schema": {"type": "string"}, "example": example}}
    return {200: {"description": description, "content": content}, **errors(429, *more)}


def add_to(router: APIRouter, desk: Desk) -> None:
    """Register the routes."""
    tracker, hub = desk.tracker, desk.hub

    @router.get(
        "/api/runs/{run_id}/stream",
        response_class=StreamingResponse,
        responses={
            **_stream(
                "Each event of the run, then `event: complete` with the completion signal; only that says that the run has ended.",
                _RUN_EXAMPLE,
                404,
            ),
            204: {"description": "You have heard the last word: `Last-Event-ID` stands at it."},
        },
        tags=["streams"],
    )
    async def run_stream(
        request: Request,
        run_id: RunPath,
        query: Annotated[RunStreamQuery, Query()],
        last_event_id: LastEventId = None,
    ) -> Response:
        """What happens to one run, from its first event on, until its last word."""
        view = await desk.ask(tracker.get, run_id)
        if last_event_id is not None and view.status.is_terminal:
            end = await desk.ask(_end_of, tracker, view)
            if end <= last_event_id:
                return Response(None, 204)
        after = query.after if last_event_id is None else last_event_id
        listener = hub.listen(0, view.run_id)
        return _opened(desk, request, listener, _run_messages(desk, listener, view, after or 0))

    @router.get(
        "/api/completions/stream",
        response_class=StreamingResponse,
        responses=_stream(
            "An `event: complete` for every last word, in store order, at least once; it never ends by itself.",
            _FEED_EXAMPLE,
        ),
        tags=["streams"],
    )
    async def completion_stream(
        request: Request,
        query: Annotated[FeedStreamQuery, Query()],
        last_event_id: LastEventId = None,
    ) -> Response:
        """The completion feed as it grows. A dropped connection goes on from its `Last-Event-ID`."""
        after = query.after if last_event_id is None else last_event_id
        if after == "latest":
            after = await desk.ask(tracker.store.last_position)
        listener = hub.listen(after, topics=TERMINAL_TOPICS)
        return _opened(desk, request, listener, _feed_messages(desk, listener))


def _opened(
    desk: Desk, request: Request, listener: Listener, chunks: AsyncGenerator[bytes]
) -> Response:
    client = request.client.host if request.client else "unknown"
    try:
        return EventStream(chunks, listener, desk.turnstile, client)
    except BaseException:
        listener.leave()
        raise


async def _run_messages(
    desk: Desk, listener: Listener, view: RunView, after: int
) -> AsyncGenerator[bytes]:
    """The run's events behind the position, and what it says if it runs here; then its end.

    Events are read from the first one on, whatever the position, to know whether the run has ended.
    """
    local = LocalMessages(desk.manager, listener, view.run_id)
    ended: Told | None = None
    sent_at = monotonic()
    try:
        while True:
            found = await listener.next(desk.keepalive_seconds)
            chunk = b"".join(told.message for told in found if told.position > after)
            chunk += b"".join(_log(message) for message in local.arrived())
            if chunk:
                yield chunk
                sent_at = monotonic()
            ended = next((told for told in reversed(found) if told.signal is not None), ended)
            if local.signal is not None and "status_update_failed" in local.signal:
                yield frame(json.dumps(local.signal, ensure_ascii=False), event="complete")
                return
            if ended is not None and not local.is_expected:
                yield await _end(desk, ended)
                return
            claim = desk.hub.claim(listener.key or "") or local.unrecorded()
            if claim is not None:
                yield _last_frames(ending_of(claim, await _read_back(desk, claim)))
                return
            if monotonic() - sent_at >= desk.keepalive_seconds:
                yield KEEPALIVE
                sent_at = monotonic()
    finally:
        local.close()


def _log(message: Message) -> bytes:
    """A message for people; it has no place in the store, and so no id."""
    return frame(json.dumps(message, ensure_ascii=False), event="log")


async def _feed_messages(desk: Desk, listener: Listener) -> AsyncGenerator[bytes]:
    sent_at = monotonic()
    while True:
        found = await listener.next(desk.keepalive_seconds)
        chunk = b"".join(told.completion for told in found)
        if chunk or monotonic() - sent_at >= desk.keepalive_seconds:
            yield chunk or KEEPALIVE
            sent_at = monotonic()


async def _end(desk: Desk, ended: Told) -> bytes:
    """The frames for a last word. A verdict goes with a warning, and with what the store says now: it may have been corrected."""
    if ended.signal is not None and "status_update_failed" not in ended.signal:
        return ended.completion
    view = await _read_back(desk, Claim(ended.recorded.run_id))
    if view is None:
        return ended.completion
    return _last_frames(ending_of(Claim(view.run_id), view), ended.position)


async def _read_back(desk: Desk, claim: Claim) -> RunView | None:
    try:
        return await desk.ask(desk.tracker.store.view, claim.run_id)
    except StoreUnavailable:
        return None


def _last_frames(ending: Ending, position: int | None = None) -> bytes:
    """Without a position where the store does not hold the end: who comes back is told again."""
    warning = b""
    if ending.warning is not None:
        warning = _log(ending.warning)
    signal = json.dumps(ending.signal, ensure_ascii=False)
    return warning + frame(signal, event="complete", id=position)


def _end_of(tracker: RunTracker, view: RunView) -> int:
    """The position of the run's last word."""
    history = tracker.history(view.run_id)
    return max(item.position for item in history if isinstance(item.event, TERMINAL_EVENTS))

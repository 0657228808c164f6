"""The response that a stream is, and how many of them one client may have."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ....domain.errors import LastwordError
from ...logs import get_logger
from ..problems import Refusal
from .frames import OPENING
from .hub import HungUp, Listener

log = get_logger("lastword.web.stream")

STREAMS_PER_CLIENT = 64
_SEND_SECONDS = 30.0
"""A client that takes nothing for so long is dropped."""


class Turnstile:
    """Counts the open streams of each client."""

    def __init__(self, limit: int = STREAMS_PER_CLIENT) -> None:
        self._limit = limit
        self._open: Counter[str] = Counter()

    def enter(self, client: str) -> None:
        """One more. Raises a problem with 429 when the client has as many as it may have."""
        if self._open[client] >= self._limit:
            raise Refusal(
                429,
                "too-many-streams",
                f"expected at most {self._limit} open streams of one client, found one more; close others, or follow"
                " /api/completions/stream, which carries every run",
                {"Retry-After": "10"},
                retryable=True,
                expected=self._limit,
            )
        self._open[client] += 1

    def leave(self, client: str) -> None:
        """One less."""
        self._open[client] -= 1
        if self._open[client] <= 0:
            del self._open[client]


class EventStream(Response):
    """Sends what an iterator gives until it ends, the client leaves, or the server hangs up.

    FastAPI's own takes two tasks, two memory streams and a timer for each client; this takes one task more than the request itself.
    """

    media_type = "text/event-stream"

    def __init__(
        self, chunks: AsyncGenerator[bytes], listener: Listener, turnstile: Turnstile, client: str
    ) -> None:
        turnstile.enter(client)
        self.status_code = 200
        self.background = None
        self.init_headers({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self._chunks = chunks
        self._listener = listener
        self._turnstile = turnstile
        self._client = client

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send."""
        watching = asyncio.ensure_future(_until_gone(receive, self._listener))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async with aclosing(self._chunks) as chunks:
                await _send(send, OPENING)
                with suppress(HungUp):
                    async for chunk in chunks:
                        await _send(send, chunk)
            await _send(send, b"", more=False)
        except (TimeoutError, OSError):
            log.info("lastword.web.stream_dropped", client=self._client)
        except LastwordError as error:
            log.warning("lastword.web.stream_broken", error=str(error), exc_info=True)
        finally:
            watching.cancel()
            self._listener.leave()
            self._turnstile.leave(self._client)


async def _send(send: Send, chunk: bytes, *, more: bool = True) -> None:
    async with asyncio.timeout(_SEND_SECONDS):
        await send({"type": "http.response.body", "body": chunk, "more_body": more})


async def _until_gone(receive: Receive, listener: Listener) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue
    listener.hang_up()

"""HTTP connections that may not dawdle: uvicorn bounds idle ones, this bounds slow ones."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_SECONDS = 20.0
"""So long a request may take to arrive, head and body."""
STALL_SECONDS = 20.0
"""So long a client may take nothing of what is sent to it."""


class BoundedProtocol(H11Protocol):
    """Drops clients that send their request, or take their answer, too slowly: they would hold a connection for as long as they like."""

    _arriving: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]  # as in the base class
        """The first request is awaited from now on."""
        super().connection_made(transport)
        self._arriving = self.loop.call_later(REQUEST_SECONDS, self._drop)

    def data_received(self, data: bytes) -> None:
        """Another piece; the time for a request is counted from its first one."""
        super().data_received(data)
        if self.conn.their_state in {h11.IDLE, h11.SEND_BODY}:
            if self._arriving is None:
                self._arriving = self.loop.call_later(REQUEST_SECONDS, self._drop)
        else:
            self._arriving = _cancelled(self._arriving)

    def pause_writing(self) -> None:
        """The client does not take what was sent so far."""
        super().pause_writing()
        if self._stalled is None:
            self._stalled = self.loop.call_later(STALL_SECONDS, self._drop)

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        self._stalled = _cancelled(self._stalled)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is awaited any more."""
        self._arriving, self._stalled = _cancelled(self._arriving), _cancelled(self._stalled)
        super().connection_lost(exc)

    def _drop(self) -> Any:
        self.transport.abort()


def _cancelled(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()

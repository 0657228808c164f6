"""One connection to the server, the shortest way to an answer, and having one for a while."""

from __future__ import annotations

import contextlib
import select
from types import TracebackType
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import generators
from psycopg.pq.abc import PGresult

if TYPE_CHECKING:
    from .connections import Connections

_SOON_MILLISECONDS = 100
_CANCELLED_SECONDS = 5.0
"""How long a thread that is interrupted waits until the server has stopped."""


class Link(psycopg.Connection[tuple[Any, ...]]):
    """One open connection; each wait for the server ends after `patience` seconds, if that is not None."""

    patience: float | None = None

    def __init__(self, *arguments: Any, **names: Any) -> None:
        super().__init__(*arguments, **names)
        self.prepared: dict[str, int | bytes] = {}
        """Statements of `quick`: how often each was executed, then the name under which it is prepared."""
        self._poll = select.poll()
        self._poll.register(self.fileno(), select.POLLIN | select.POLLHUP)

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """See the base class. A wait that was given up leaves a connection that is of no use any more."""
        return super().wait(gen, interval, self.patience if timeout is None else timeout)

    def answer(self) -> PGresult:
        """The answer to the one statement that was sent. Most answers come soon, all at once, and need none of the driver's machinery."""
        server = self.pgconn
        try:
            if not server.flush() and self._poll.poll(_SOON_MILLISECONDS):
                server.consume_input()
                if not server.is_busy():
                    first, end = server.get_result(), server.get_result()
                    if first is not None and end is None:
                        return first
            return self.wait(generators.execute(server))[-1]
        except (KeyboardInterrupt, SystemExit):  # as the driver does
            with contextlib.suppress(psycopg.Error):
                self.cancel_safe(timeout=_CANCELLED_SECONDS)
                self.wait(generators.execute(server), timeout=_CANCELLED_SECONDS)
            raise

    def is_over(self) -> bool:
        """Whether the server has hung up while nobody used it."""
        return self.closed or bool(self._poll.poll(0))


class Held:
    """A connection for one thread, until the block ends. A class, as a generator costs more than all else in here."""

    __slots__ = ("_connections", "_free", "_link", "_patience")

    def __init__(self, connections: Connections, patience: float) -> None:
        self._connections = connections
        self._patience = patience

    def __enter__(self) -> Link:
        self._link, self._free = self._connections.take()
        self._link.patience = self._patience
        return self._link

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._connections.give_back(self._link, error)
        finally:
            self._free.put(None)

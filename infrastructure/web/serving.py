"""The server behind `lastword serve`."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager

import uvicorn
from pydantic import SecretStr

from ...domain.errors import InvalidInput
from ..managing.asynchronous import AsyncRunManager
from ..managing.manager import RunManager
from ..tracking.tracker import RunTracker
from .app import create_app
from .desk import Desk
from .guarding.protocol import BoundedProtocol
from .streaming.response import STREAMS_PER_CLIENT

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 5278
_BACKLOG = 1024
_CONNECTIONS = 4096
"""Open at once, streams among them; one more gets 503."""
_GRACE_SECONDS = 5
"""So long a server that was told to end waits for answers that are on their way."""


class Server(uvicorn.Server):
    """Serves the application over a tracker until it is told to end, by `stop`, Ctrl-C or SIGTERM.

    Raises `InvalidInput` when the address cannot be had, or can be reached from other machines and there is no token.
    """

    def __init__(
        self,
        tracker: RunTracker,
        *,
        host: str = DEFAULT_HOST,
        port: int = DEFAULT_PORT,
        token: SecretStr | None = None,
        allowed_hosts: Iterable[str] = (),
        manager: RunManager | AsyncRunManager | None = None,
        streams_per_client: int = STREAMS_PER_CLIENT,
        when_ready: Callable[[Server], object] | None = None,
    ) -> None:
        app = create_app(
            tracker,
            host=host,
            allowed_hosts=allowed_hosts,
            token=None if token is None else token.get_secret_value(),
            manager=manager,
            streams_per_client=streams_per_client,
        )
        self._desk: Desk = app.state.desk
        self.host = host
        self._when_ready = when_ready
        self._socket = _bound(host, port)
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            app,
            access_log=False,
            backlog=_BACKLOG,
            http=BoundedProtocol,
            lifespan="on",
            limit_concurrency=_CONNECTIONS,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
            ws="none",
        )
        super().__init__(config)

    @property
    def url(self) -> str:
        """Where it listens."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{name}:{self.port}"

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until it is told to end."""
        super().run(sockets or [self._socket])

    def stop(self) -> None:
        """Tell it to end; from any thread. A second time: at once."""
        self.force_exit = self.should_exit
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, then tell `when_ready`."""
        await super().startup(sockets)
        if self._when_ready is not None:
            self._when_ready(self)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams first: others would wait for them. The application is told in any case, also when there is no time to wait for answers."""
        self._desk.hub.hang_up()
        await super().shutdown(sockets)
        if self.force_exit:
            await self.lifespan.shutdown()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """As in the base class, but the signal that ended it is not raised again: the tracker has yet to be closed."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {
            number: signal.signal(number, lambda *_: self.stop())
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _bound(host: str, port: int) -> socket.socket:
    """A socket that listens there; the port 0 is a free one. Raises `InvalidInput`."""
    try:
        family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise InvalidInput(
            f"{host}:{port}: expected an address and port to listen on, found: {why}; choose another with --host and --port"
        ) from error
    # asyncio would do it for sockets that it has made itself. Without it each answer waits 40 ms for an acknowledgement.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listening.setblocking(False)
    return listening

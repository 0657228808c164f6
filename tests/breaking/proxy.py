"""A wire between a client and a server that can be cut at the worst moment: the server has done it, and nobody hears the answer."""

from __future__ import annotations

import contextlib
import random
import selectors
import socket
import threading
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

_AT_ONCE = 1 << 16
_WRITES = (b"COMMIT", b"INSERT", b"lastword_step_")
"""By one of these a message is known that writes; the last one names a prepared statement of an append."""


class Proxy:
    """Passes bytes on both ways; loses the answer to every so many messages that write, and the connection with it.

    The `chance` of losing an answer is from 0 to 1.
    """

    def __init__(self, port: int, *, seed: int = 0) -> None:
        self._target = ("127.0.0.1", port)
        self._random = random.Random(seed)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.chance = 0.0
        self.marker = b""
        """The answer to the next message that holds this is lost, whatever the chance."""
        self.lost = 0
        """Answers that nobody heard."""
        self.turns = 0
        """How often a client spoke after the server had: round trips, of all connections."""
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, socket.create_connection(self._target) as server:
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open |= {client, server}
            try:
                self._pass_on(client, server)
            finally:
                self._open -= {client, server}

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        lose, heard = False, True
        with selectors.DefaultSelector() as selector:
            selector.register(client, selectors.EVENT_READ)
            selector.register(server, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    data: bytes = key.fileobj.recv(_AT_ONCE)  # pyright: ignore[reportAttributeAccessIssue,reportUnknownVariableType]  # a socket
                    if not data:
                        return
                    if key.fileobj is client:
                        if heard:
                            with self._lock:
                                self.turns += 1
                        heard = False
                        server.sendall(data)
                        lose = self._is_marked(data) or (
                            any(word in data for word in _WRITES) and self._loses()
                        )
                    elif lose:
                        self.lost += 1
                        return
                    else:
                        heard = True
                        client.sendall(data)

    def _is_marked(self, data: bytes) -> bool:
        if not self.marker or self.marker not in data:
            return False
        self.marker = b""
        return True

    def _loses(self) -> bool:
        with self._lock:
            return self._random.random() < self.chance

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listening.close()
        for end in list(self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def port_of(url: str) -> int:
    """Where the server listens."""
    return urlsplit(url).port or 5432


def through(proxy: Proxy, url: str) -> str:
    """The URL by way of a proxy."""
    return url.replace(f":{port_of(url)}/", f":{proxy.port}/")

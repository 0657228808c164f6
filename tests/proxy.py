"""A TCP proxy between a test and a server, which cuts connections at the worst moment."""

from __future__ import annotations

import contextlib
import socket
import threading
from urllib.parse import urlsplit, urlunsplit


class Proxy:
    """Passes bytes on in both directions; as a context manager.

    `swallow` makes an answer get lost: what the client asks for is done, and the connection is gone before it hears of it.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname or "127.0.0.1", parts.port or 5432)
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        user = f"{parts.username}@" if parts.username else ""
        self.url = urlunsplit(parts._replace(netloc=f"{user}127.0.0.1:{port}"))
        self._sockets: list[socket.socket] = []
        self._marker = b""
        self._asked: set[socket.socket] = set()
        self.swallowed = threading.Event()
        """Set when an answer was lost."""

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.cut()

    def swallow(self, marker: bytes) -> None:
        """Let the answer to the next message that holds the marker get lost, and the connection with it."""
        self.swallowed.clear()
        self._marker = marker

    def cut(self) -> None:
        """End every connection now."""
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._sockets.clear()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                self._sockets += [client, server]
                threading.Thread(target=self._pass, args=(client, server), daemon=True).start()
                threading.Thread(target=self._answer, args=(server, client), daemon=True).start()

    def _pass(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                if self._marker and self._marker in data:
                    self._marker = b""
                    self._asked.add(server)
                server.sendall(data)
        _end(server)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if (
                    server in self._asked and b"Z\x00\x00\x00\x05I" in data
                ):  # it is done, and idle again
                    _end(client)
                    self.swallowed.set()
                    return
                client.sendall(data)
        _end(client)


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)

"""A real server in this process, and clients that listen to its streams."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx

from commandline import PATIENCE
from lastword import RunTracker
from lastword.infrastructure.web.serving import Server


@contextmanager
def serving(tracker: RunTracker, *, port: int = 0, **settings: Any) -> Iterator[Server]:
    """A server, on a free port unless one is named, in a thread of its own; it is stopped at the end of the block, if it still runs."""
    ready = threading.Event()
    server = Server(tracker, port=port, when_ready=lambda _: ready.set(), **settings)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert ready.wait(PATIENCE)
    try:
        yield server
    finally:
        server.stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()


class Event(NamedTuple):
    """One server-sent event."""

    kind: str
    data: Any
    id: int | None


class Listening:
    """An open stream. Iterating gives its events; comments are counted."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.comments: list[str] = []
        self.retry: int | None = None
        self._lines = response.iter_lines()

    def __iter__(self) -> Iterator[Event]:
        kind, data, number = "message", "", None
        for line in self._lines:
            field, _, value = line.partition(": ")
            match field:
                case "":
                    if line.startswith(":"):
                        self.comments.append(value)
                    elif data:
                        yield Event(kind, json.loads(data), number)
                    if not line:
                        kind, data, number = "message", "", None
                case "event":
                    kind = value
                case "data":
                    data = value
                case "id":
                    number = int(value)
                case "retry":
                    self.retry = int(value)
                case _:
                    raise AssertionError(f"a line that is no event: {line!r}")

    def next(self) -> Event:
        """The next event."""
        return next(iter(self))

    def rest(self) -> list[Event]:
        """All events up to the end of the stream."""
        return [*self]


@contextmanager
def listening(server: Server, path: str, **headers: str) -> Iterator[Listening]:
    """A stream that is open inside the block."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    with (
        httpx.Client(base_url=server.url, timeout=PATIENCE) as client,
        client.stream("GET", path, headers=sent) as response,
    ):
        assert 200 == response.status_code, response.read()
        assert "text/event-stream" == response.headers["content-type"].partition(";")[0]
        yield Listening(response)

"""OpenLineage in tests: events, a backend on this machine, clients that watch."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from openlineage.client import OpenLineageClient

from lastword import RunTracker
from lastword.infrastructure.exchange.openlineage import openlineage_lines
from lastword.infrastructure.exchange.openlineage_emitter import OpenLineageEmitter

PATIENCE = 20.0
"""Seconds after which a test gives up on something that should have happened at once."""
RUN_ID = "0192f5a0-5f9e-7c31-8f4e-2f1f6f0f7a10"
START = datetime(2026, 2, 5, 2, tzinfo=UTC)


def event(kind: str, minute: int = 0, **run_facets: Any) -> dict[str, Any]:
    """An event of one run, so many minutes after the first."""
    return {
        "eventType": kind,
        "eventTime": (START + timedelta(minutes=minute)).isoformat(),
        "run": {"runId": RUN_ID, "facets": run_facets},
        "job": {"namespace": "etl", "name": "import"},
        "producer": "https://example.com/scheduler",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
    }


def in_order(kinds: str) -> list[dict[str, Any]]:
    """Events of these types, named with commas between, a minute apart."""
    return [event(kind, minute) for minute, kind in enumerate(kinds.split(", "))]


def lines_of(events: list[dict[str, Any]]) -> list[bytes]:
    """As they lie in a file."""
    return [json.dumps(item).encode() + b"\n" for item in events]


class Backend:
    """An OpenLineage backend on this machine that can be stopped and started again at the same address."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.refuse: Callable[[int], bool] = lambda number: False
        """Whether the request of this number is answered with 503."""
        self._requests = 0
        self._changed = threading.Condition()
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        backend = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(backend.take(json.loads(body)))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its name in the base class
                """Nothing on stderr."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def stop(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = None

    def take(self, event: dict[str, Any]) -> int:
        with self._changed:
            self._requests += 1
            if self.refuse(self._requests):
                return 503
            self.received.append(event)
            self._changed.notify_all()
        return 201

    def wait_for(self, number: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.received) >= number, PATIENCE)


class Watched:
    """A client that tells when an event could not be delivered."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.failed = threading.Event()

    def emit(self, event: Any) -> None:
        try:
            self._client.emit(event)
        except Exception:
            self.failed.set()
            raise


class Recording:
    """A client that keeps what it is given; `before` may raise."""

    def __init__(self, before: Callable[[int], None] = lambda number: None) -> None:
        self.events: list[Any] = []
        self._before = before
        self._calls = 0

    def emit(self, event: Any) -> None:
        self._calls += 1
        self._before(self._calls)
        self.events.append(event)

    @property
    def said(self) -> list[tuple[str, str]]:
        return [
            (event.eventType.value, event.run.facets["lastword_event"]["event_id"])
            for event in self.events
        ]


def client_of(url: str) -> Any:
    transport = {"type": "http", "url": url, "retry": {"total": 0}}
    return OpenLineageClient(config={"transport": transport})


def live(tracker: RunTracker, *run_ids: int) -> None:
    """Three events for each run."""
    for run_id in run_ids:
        tracker.create("import", run_id=run_id, tags={"team": "data"})
        tracker.start(run_id)
        tracker.complete(run_id)


def exported(tracker: RunTracker) -> list[tuple[str, str]]:
    """Type and event id of what should arrive, in order."""
    events = map(json.loads, openlineage_lines(tracker.store.read(0, 1000)))
    return [
        (event["eventType"], event["run"]["facets"]["lastword_event"]["event_id"])
        for event in events
    ]


def arrived(backend: Backend) -> list[tuple[str, str]]:
    """The same, of what did arrive."""
    return [
        (event["eventType"], event["run"]["facets"]["lastword_event"]["event_id"])
        for event in backend.received
    ]


@contextmanager
def running(emitter: OpenLineageEmitter) -> Iterator[None]:
    thread = threading.Thread(target=emitter.run)
    thread.start()
    try:
        yield
    finally:
        emitter.stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()

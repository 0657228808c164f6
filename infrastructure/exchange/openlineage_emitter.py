"""Sending a store's events to an OpenLineage backend while they happen."""

from __future__ import annotations

import fcntl
import json
import os
import random
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from pydantic_core import from_json, to_json

from ...domain.errors import InvalidInput
from ...domain.events import RecordedEvent
from ...domain.values import shown
from ..logs import get_logger
from ..spooling.files import fsync_folder, write_all
from ..tracking.reading import RunReader
from .openlineage import NAMESPACE, Json, OpenLineageMapping

log = get_logger("lastword.openlineage")

_BATCH = 100
"""So many events are sent between two writes of the cursor file, and at most so many are sent again after a crash."""
_WAIT_SECONDS = 0.25
"""The longest wait in the store, so that the emitter can be stopped."""
_UNFIT_TRANSPORTS = {
    "async_http": "it says yes before the event has arrived; take the transport 'http'",
    "noop": "it sends nothing; OPENLINEAGE_DISABLED may be set",
}


class Client(Protocol):
    """What is needed of `openlineage.client.OpenLineageClient`."""

    def emit(self, event: Any) -> Any:
        """Deliver one event; raise if that cannot be done."""
        ...


class OpenLineageEmitter:
    """Follows a store and sends each event through an OpenLineage client: in order, at least once, across restarts and outages.

    `cursor_file` remembers the position up to which everything was delivered; it is written atomically and fsynced, after every 100
    events at the latest. A new one begins with the store's first event. After a fault the same event is tried again: after
    `base_delay` seconds, then twice as long, up to `max_delay`. Nothing is skipped, however long the backend is away.

    Raises `InvalidInput` for a cursor file that is none, for a transport that cannot say whether an event arrived, and where
    openlineage-python is not installed.

        client = OpenLineageClient(config={"transport": {"type": "http", "url": "http://localhost:5000"}})
        emitter = OpenLineageEmitter(tracker, client, "lineage.cursor")
        threading.Thread(target=emitter.run, daemon=True).start()
    """

    def __init__(
        self,
        tracker: RunReader,
        client: Client,
        cursor_file: str | Path,
        *,
        namespace: str = NAMESPACE,
        base_delay: float = 0.5,
        max_delay: float = 60.0,
    ) -> None:
        kind = getattr(getattr(client, "transport", None), "kind", None)
        if kind in _UNFIT_TRANSPORTS:
            raise InvalidInput(
                f"client: expected a transport that delivers, found {kind!r}: {_UNFIT_TRANSPORTS[kind]}"
            )
        require_openlineage()
        self._store = tracker.store
        self._client = client
        self._cursor = Path(cursor_file)
        self._base_delay = base_delay
        self._max_delay = max_delay
        self._stopping = threading.Event()
        self._mapping = OpenLineageMapping(namespace=namespace, history=self._store.read_run)
        self._pending: deque[Json] | None = None
        self._saved = self._position = _read(self._cursor)
        self.faults = 0
        """How often in a row an event could not be delivered, or the store not be read."""

    @property
    def position(self) -> int:
        """The store position up to which everything was delivered."""
        return self._position

    def run(self, *, until: int | None = None) -> None:
        """Send until `stop` is called, or until everything up to the position `until` was delivered. Blocks.

        No fault of the backend or of the store ends it: it logs, waits, and tries again. Raises `InvalidInput` when another
        emitter is at work with the same cursor file, and `OSError` when there can be no such file.
        """
        with _alone(self._cursor):
            self._position = self._saved = max(self._position, _read(self._cursor))
            try:
                while not self._stopping.is_set() and (until is None or self._position < until):
                    try:
                        if not self._send_some():
                            self._store.wait(self._position, _WAIT_SECONDS)
                    except Exception as error:  # noqa: BLE001  # transports raise what they like, and somebody still waits
                        self._interrupted(error)
            finally:
                self._save_quietly()

    def stop(self) -> None:
        """Make `run` return once the event at hand is delivered or refused. Callable from any thread, also before `run`."""
        self._stopping.set()

    # -- inside

    def _send_some(self) -> bool:
        """Send the next events; False when there are none."""
        batch = self._store.read(self._position, _BATCH)
        if not batch:
            self._check_store()
        for recorded in batch:
            if self._stopping.is_set():
                break
            if recorded.is_of_store:
                self._position = recorded.position
            else:
                self._send(recorded)
        self._save()
        self._recovered()
        return bool(batch)

    def _send(self, recorded: RecordedEvent) -> None:
        if self._pending is None:  # else the rest of this event, which was refused before
            try:
                self._pending = deque(self._mapping.of(recorded))
            except InvalidInput as error:  # trying again would never help
                log.error(
                    "lastword.openlineage.skipped",
                    run_id=recorded.run_id,
                    position=recorded.position,
                    error=str(error),
                )
                self._pending = deque()
        while self._pending:
            self._client.emit(run_event(self._pending[0]))
            self._pending.popleft()
        self._pending = None
        self._position = recorded.position
        self._recovered()

    def _check_store(self) -> None:
        newest = self._store.last_position()
        if newest < self._position:
            raise InvalidInput(
                f"cursor file {self._cursor}: expected a position up to {newest}, which is the store's last, found"
                f" {self._position}: it belongs to another store, or the store was restored from a backup; name another file"
            )

    def _interrupted(self, error: Exception) -> None:
        self._save_quietly()
        self.faults += 1
        delay = min(self._base_delay * 2 ** min(self.faults - 1, 30), self._max_delay)
        report = log.warning if self.faults == 1 or delay >= self._max_delay else log.debug
        report(
            "lastword.openlineage.interrupted",
            after=self._position,
            faults=self.faults,
            wait=delay,
            error=f"{type(error).__name__}: {error}",
        )
        self._stopping.wait(delay * random.uniform(0.5, 1.0))  # noqa: S311  # nothing secret about it

    def _recovered(self) -> None:
        if self.faults:
            log.info("lastword.openlineage.resumed", after=self._position, faults=self.faults)
            self.faults = 0

    def _save(self) -> None:
        if self._position != self._saved:
            _write(self._cursor, self._position)
            self._saved = self._position

    def _save_quietly(self) -> None:
        try:
            self._save()
        except OSError as error:  # the events behind the old position will be sent again
            log.warning(
                "lastword.openlineage.cursor_not_saved", file=str(self._cursor), error=str(error)
            )


def run_event(data: Json) -> Any:
    """The mapped event as an `openlineage.client.event_v2.RunEvent`, which clients want."""
    from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
    from openlineage.client.facet_v2 import tags_run

    plain: Json = from_json(to_json(data, inf_nan_mode="strings"))  # JSON knows no infinity
    facets = plain["run"]["facets"]
    tags = facets.get("tags")
    if tags is not None:  # the client adds tags of its own to it, where it is told to
        facets["tags"] = tags_run.TagsRunFacet(
            tags=[tags_run.TagsRunFacetFields(**tag) for tag in tags["tags"]],
            producer=tags["_producer"],  # pyright: ignore[reportCallIssue]  # attrs drops the underscore
        )
    return RunEvent(
        eventType=RunState(plain["eventType"]),
        eventTime=plain["eventTime"],
        run=Run(**plain["run"]),
        job=Job(**plain["job"]),
        inputs=plain["inputs"],
        outputs=plain["outputs"],
        producer=plain["producer"],
    )


def require_openlineage() -> None:
    """Raise `InvalidInput` where openlineage-python is not installed."""
    try:
        import_module("openlineage.client.event_v2")
    except ImportError as error:
        raise InvalidInput(
            f"openlineage: expected the package openlineage-python, found none ({error});"
            " pip install 'lastword[openlineage]'"
        ) from error


@contextmanager
def _alone(cursor: Path) -> Iterator[None]:
    """Inside, nobody else works with the cursor file."""
    lock = cursor.with_name(f"{cursor.name}.lock")
    file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InvalidInput(
                f"cursor file {cursor}: expected to be alone, but another emitter is at work with it;"
                " stop that one, or name another file"
            ) from None
        yield
    finally:
        os.close(file)


def _read(cursor: Path) -> int:
    try:
        text = cursor.read_text(encoding="utf-8")
    except FileNotFoundError:
        return 0
    try:
        position = json.loads(text)["position"]
    except (ValueError, TypeError, KeyError):
        position = None
    if isinstance(position, bool) or not isinstance(position, int) or position < 0:
        raise InvalidInput(
            f'cursor file {cursor}: expected {{"position": N}}, found {shown(text)}; name another file, or remove this one'
            " to send everything again"
        )
    return position


def _write(cursor: Path, position: int) -> None:
    """Replace the file at once: a crash leaves the old one or the new one. Raises OSError."""
    new = cursor.with_name(f"{cursor.name}.new")
    file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        write_all(file, json.dumps({"position": position}).encode() + b"\n")
        os.fsync(file)
    finally:
        os.close(file)
    new.replace(cursor)
    fsync_folder(cursor.parent)

"""The emitter delivers every event in order, whatever becomes of the backend, the store or the process."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypedDict

import pytest
from openlineage.client import OpenLineageClient
from structlog.testing import capture_logs

from commandline import LASTWORD, environment, lastword
from lastword import RunTracker
from lastword.domain.errors import InvalidInput, StoreUnavailable
from lastword.infrastructure.exchange.openlineage import openlineage_lines
from lastword.infrastructure.exchange.openlineage_emitter import OpenLineageEmitter
from lineage import (
    PATIENCE,
    Backend,
    Recording,
    Watched,
    arrived,
    client_of,
    exported,
    live,
    running,
)


class Delays(TypedDict):
    """How long the emitter waits after a fault, in seconds."""

    base_delay: float
    max_delay: float


QUICK: Delays = {"base_delay": 0.01, "max_delay": 0.05}


class Unfit(Recording):
    """A client with a transport of this kind."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.transport = SimpleNamespace(kind=kind)


@pytest.fixture
def backend() -> Iterator[Backend]:
    backend = Backend()
    backend.start()
    yield backend
    backend.stop()


@pytest.fixture(autouse=True)
def no_settings_of_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No proxy, and no OpenLineage configuration of whoever runs the tests."""
    for name in (
        "http_proxy",
        "HTTP_PROXY",
        "all_proxy",
        "ALL_PROXY",
        "OPENLINEAGE_URL",
        "OPENLINEAGE_DISABLED",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def tracker(tmp_path: Path) -> Iterator[RunTracker]:
    with RunTracker(tmp_path / "runs.db") as tracker:
        yield tracker


def test_nothing_is_lost_while_the_backend_is_away(
    tracker: RunTracker, backend: Backend, tmp_path: Path
) -> None:
    """The backend is stopped and started again, twice: everything arrives, once and in order."""
    inner = client_of(backend.url)
    client = Watched(inner)
    emitter = OpenLineageEmitter(tracker, client, tmp_path / "cursor", **QUICK)
    with running(emitter):
        live(tracker, 1, 2)
        backend.wait_for(6)
        for run_id in (3, 4):
            backend.stop()
            client.failed.clear()
            live(tracker, run_id)
            assert client.failed.wait(PATIENCE)
            backend.start()
            backend.wait_for(3 * run_id)
    inner.close()
    assert exported(tracker) == arrived(backend)
    assert {"position": tracker.store.last_position()} == json.loads(
        (tmp_path / "cursor").read_text()
    )


def test_what_arrives_is_what_an_export_writes(
    tracker: RunTracker, backend: Backend, tmp_path: Path
) -> None:
    """The client adds its own version as a tag, and where the code comes from in a git checkout; nothing else differs."""
    live(tracker, 1)
    client = client_of(backend.url)
    OpenLineageEmitter(tracker, client, tmp_path / "cursor").run(
        until=tracker.store.last_position()
    )
    client.close()
    for found in backend.received:
        found["job"]["facets"].pop("sourceCodeLocation", None)
        tags = found["run"]["facets"]["tags"]
        tags["tags"] = [tag for tag in tags["tags"] if tag["source"] == "LASTWORD"]
    assert [json.loads(line) for line in openlineage_lines(tracker.history(1))] == backend.received


def test_an_event_that_is_refused_is_tried_again_and_holds_up_the_others(
    tracker: RunTracker, backend: Backend, tmp_path: Path
) -> None:
    """A START that was added arrived before; the FAIL after it is refused twice, and only the FAIL is sent again."""
    tracker.create("import", run_id=1)
    tracker.fail(1, "no rows")
    live(tracker, 2)
    backend.refuse = lambda number: number in {3, 4, 6}
    client = client_of(backend.url)
    emitter = OpenLineageEmitter(tracker, client, tmp_path / "cursor", **QUICK)
    emitter.run(until=tracker.store.last_position())
    client.close()
    assert ["OTHER", "START", "FAIL", "OTHER", "START", "COMPLETE"] == [
        k for k, _ in arrived(backend)
    ]
    assert exported(tracker) == arrived(backend)
    assert 0 == emitter.faults


def test_the_next_process_goes_on_where_the_last_one_stopped(
    tracker: RunTracker, tmp_path: Path
) -> None:
    """A cursor that was written is not sent again."""
    live(tracker, 1)
    first, second = Recording(), Recording()
    OpenLineageEmitter(tracker, first, tmp_path / "cursor").run(until=tracker.store.last_position())
    live(tracker, 2)
    emitter = OpenLineageEmitter(tracker, second, tmp_path / "cursor")
    assert 3 == emitter.position
    emitter.run(until=tracker.store.last_position())
    assert exported(tracker) == first.said + second.said


def test_after_a_crash_events_are_sent_again_rather_than_lost(
    tracker: RunTracker, tmp_path: Path
) -> None:
    """The process dies before it could write the cursor: the next one begins with the last position that was written."""

    def dies_at_five(number: int) -> None:
        if number == 5:
            raise KeyboardInterrupt

    live(tracker, 1, 2)
    first, second = Recording(dies_at_five), Recording()
    last = tracker.store.last_position()
    in_the_way = tmp_path / "cursor.new"
    in_the_way.mkdir()
    with pytest.raises(KeyboardInterrupt):
        OpenLineageEmitter(tracker, first, tmp_path / "cursor").run(until=last)
    in_the_way.rmdir()
    OpenLineageEmitter(tracker, second, tmp_path / "cursor").run(until=last)
    wanted = exported(tracker)
    assert wanted[:4] == first.said
    assert wanted == second.said


def test_an_interrupted_emitter_has_written_how_far_it_came(
    tracker: RunTracker, tmp_path: Path
) -> None:
    """Ctrl-C is no crash: what was delivered is not sent again."""

    def interrupted_at_five(number: int) -> None:
        if number == 5:
            raise KeyboardInterrupt

    live(tracker, 1, 2)
    client = Recording(interrupted_at_five)
    with pytest.raises(KeyboardInterrupt):
        OpenLineageEmitter(tracker, client, tmp_path / "cursor").run()
    assert '{"position": 4}\n' == (tmp_path / "cursor").read_text()


def test_trouble_with_the_store_ends_nothing(
    tracker: RunTracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading fails a few times: the emitter waits and goes on."""
    live(tracker, 1)
    read, faults = tracker.store.read, [StoreUnavailable("locked")] * 3

    def failing(*arguments: Any) -> Any:
        if faults:
            raise faults.pop()
        return read(*arguments)

    monkeypatch.setattr(tracker.store, "read", failing)
    client = Recording()
    with capture_logs() as logs:
        OpenLineageEmitter(tracker, client, tmp_path / "cursor", **QUICK).run(until=3)
    assert exported(tracker) == client.said
    said = [entry["event"] for entry in logs if entry["log_level"] in {"warning", "info"}]
    assert ["lastword.openlineage.interrupted", "lastword.openlineage.resumed"] == said


def test_waits_grow_up_to_the_longest_and_can_be_cut_short(
    tracker: RunTracker, tmp_path: Path
) -> None:
    """Each wait is twice the one before; `stop` does not wait for it."""
    live(tracker, 1)
    emitter: OpenLineageEmitter

    def never(number: int) -> None:
        if number == 6:
            emitter.stop()
        raise ConnectionError("away")

    emitter = OpenLineageEmitter(
        tracker, Recording(never), tmp_path / "cursor", base_delay=0.001, max_delay=0.008
    )
    with capture_logs() as logs:
        emitter.run()
    waits = [
        entry["wait"] for entry in logs if entry["event"] == "lastword.openlineage.interrupted"
    ]
    assert [0.001, 0.002, 0.004, 0.008, 0.008, 0.008] == waits
    assert 0 == emitter.position


def test_two_emitters_do_not_share_a_cursor(tracker: RunTracker, tmp_path: Path) -> None:
    """Both would send everything, in an order of chance."""
    cursor, inside = tmp_path / "cursor", threading.Event()
    live(tracker, 1)
    with running(OpenLineageEmitter(tracker, Recording(lambda number: inside.set()), cursor)):
        assert inside.wait(PATIENCE)
        with pytest.raises(InvalidInput, match="another emitter is at work"):
            OpenLineageEmitter(tracker, Recording(), cursor).run(until=3)
    OpenLineageEmitter(tracker, Recording(), cursor).run(until=3)


@pytest.mark.parametrize("text", ["", "17", '{"position": -1}', '{"position": "3"}', "{", "[1]"])
def test_a_cursor_file_that_is_none_is_refused(
    tracker: RunTracker, tmp_path: Path, text: str
) -> None:
    """It is some other file, or somebody edited it: beginning anew would send everything again."""
    (tmp_path / "cursor").write_text(text)
    with pytest.raises(InvalidInput, match=r"cursor file .*: expected \{\"position\": N\}"):
        OpenLineageEmitter(tracker, Recording(), tmp_path / "cursor")


def test_a_cursor_of_another_store_sends_nothing(
    tracker: RunTracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is ahead of this store, so nothing can be known of what was sent; the log says it."""
    live(tracker, 1)
    (tmp_path / "cursor").write_text('{"position": 100}')
    client = Recording()
    emitter = OpenLineageEmitter(tracker, client, tmp_path / "cursor", **QUICK)
    told = threading.Event()
    last_position = tracker.store.last_position

    def asked() -> int:
        told.set()
        emitter.stop()
        return last_position()

    monkeypatch.setattr(tracker.store, "last_position", asked)
    with capture_logs() as logs:
        emitter.run()
    assert told.is_set()
    assert [] == client.events
    (entry,) = [entry for entry in logs if entry["event"] == "lastword.openlineage.interrupted"]
    assert "it belongs to another store" in entry["error"]


def test_a_cursor_that_cannot_be_written_does_not_stop_the_events(
    tracker: RunTracker, tmp_path: Path
) -> None:
    """They are sent, and will be sent again by the next process."""
    live(tracker, 1)
    cursor = tmp_path / "cursor"
    (tmp_path / "cursor.new").mkdir()  # in the way of the new file
    client = Recording()
    with capture_logs() as logs:
        OpenLineageEmitter(tracker, client, cursor, **QUICK).run(until=3)
    assert exported(tracker) == client.said
    assert not cursor.exists()
    assert "lastword.openlineage.cursor_not_saved" in [entry["event"] for entry in logs]


@pytest.mark.parametrize("kind", ["async_http", "noop"])
def test_a_transport_that_cannot_tell_is_refused(
    tracker: RunTracker, tmp_path: Path, kind: str
) -> None:
    """The cursor would move on although nothing has arrived."""
    with pytest.raises(InvalidInput, match=f"expected a transport that delivers, found '{kind}'"):
        OpenLineageEmitter(tracker, Unfit(kind), tmp_path / "cursor")


def test_the_command_sends_until_it_is_told_to_stop(
    tracker: RunTracker, backend: Backend, tmp_path: Path
) -> None:
    """Another process follows the store; SIGTERM ends it, and the cursor says how far it came."""
    live(tracker, 1)
    cursor = tmp_path / "cursor"
    command = ["openlineage", "--to", backend.url, "--cursor", str(cursor), "--namespace", "shop"]
    process = subprocess.Popen(
        [*LASTWORD, *command],
        env=environment(tmp_path / "runs.db"),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        backend.wait_for(3)
        live(tracker, 2)
        backend.wait_for(6)
    finally:
        process.terminate()
        _, said = process.communicate(timeout=PATIENCE)
    assert (0, "lastword: delivered up to position 6\n") == (process.returncode, said)
    assert '{"position": 6}\n' == cursor.read_text()
    assert exported(tracker) == arrived(backend)
    assert {"shop"} == {event["job"]["namespace"] for event in backend.received}


@pytest.mark.parametrize("url", ["localhost"])
def test_an_address_that_is_none_is_named(tracker: RunTracker, tmp_path: Path, url: str) -> None:
    """The command ends at once, with the option and what was found."""
    ended = lastword(tmp_path / "runs.db", "openlineage", "--to", url, "--cursor", "cursor")
    assert 2 == ended.returncode
    assert b"--to: expected a URL such as http://localhost:5000" in ended.stderr


def test_the_environments_tags_join_the_runs(
    tracker: RunTracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """openlineage-python adds tags of its own where it is told to; the run's stay."""
    monkeypatch.setenv("OPENLINEAGE__TAGS__RUN__STAGE", "production")
    live(tracker, 1)
    transport = {"type": "file", "log_file_path": str(tmp_path / "sent"), "append": True}
    client = OpenLineageClient(config={"transport": transport})
    OpenLineageEmitter(tracker, client, tmp_path / "cursor").run(until=3)
    completed = json.loads((tmp_path / "sent").read_text().splitlines()[-1])
    tags = completed["run"]["facets"]["tags"]["tags"]
    assert {("team", "data"), ("stage", "production")} <= {
        (tag["key"], tag["value"]) for tag in tags
    }

"""Live streams of a real server: what they carry, how they end, and what they survive."""

import sqlite3
import threading
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import pytest

from browsing import problem
from commandline import PATIENCE, started
from faults.kit import FaultyStore, wait_until
from lastword import RunContext, RunManager, RunTracker
from lastword.infrastructure.opening import open_store
from lastword.infrastructure.web.desk import Desk
from lastword.infrastructure.web.serving import Server
from streaming import Event, listening, serving


def desk_of(server: Server) -> Desk:
    return server.config.app.state.desk  # pyright: ignore[reportFunctionMemberAccess, reportAttributeAccessIssue]  # it is our application


def ended(event: Event) -> tuple[Any, Any]:
    return event.data["run_id"], event.data["db_status"]


def running(tracker: RunTracker, run_id: int) -> None:
    tracker.create("import", run_id=run_id)
    tracker.start(run_id)


def test_a_run_is_heard_from_its_first_event_to_its_signal(
    tracker: RunTracker, server: Server
) -> None:
    """What has happened, what happens, then the signal and the end of the stream; each with its position as id."""
    running(tracker, 1)
    with listening(server, "/api/runs/1/stream") as stream:
        first = [stream.next(), stream.next()]
        assert ["RunCreated", "RunStarted"] == [event.data["type"] for event in first]
        assert (2000, ["connected"]) == (stream.retry, stream.comments)
        tracker.progress(1, 3, 10)
        progress = stream.next()
        assert ("message", 3) == (progress.kind, progress.data["event"]["current"])
        tracker.complete(1)
        completed, signal = stream.rest()
    assert [recorded.as_json() for recorded in tracker.history(1)] == [
        event.data for event in (*first, progress, completed)
    ]
    assert completed.id == completed.data["position"] == signal.id
    assert ("complete", {"run_id": 1, "complete": True, "db_status": "completed"}) == signal[:2]


def test_a_run_of_another_process_is_heard_to_its_end(tracker: RunTracker, server: Server) -> None:
    """SQLite tells nobody; the stream hears of it all the same."""
    with started(tracker.store.url, "run", "--run-id", "9", "--", "cat") as run:
        wait_until(lambda: len(tracker.list(status="running")) == 1)
        with listening(server, "/api/runs/9/stream") as stream:
            assert ["RunCreated", "RunStarted"] == [stream.next().data["type"] for _ in range(2)]
            run.communicate()
            assert ["RunCompleted", True] == [
                event.data.get("type", event.data.get("complete")) for event in stream.rest()
            ]


def test_postgresql_tells_its_listeners_too(postgres_url: str) -> None:
    """A run of another connection, heard to its signal, and on the feed from then on; a late listener and a position as on SQLite."""
    with (
        RunTracker(postgres_url) as tracker,
        RunTracker(postgres_url) as elsewhere,
        serving(tracker) as server,
    ):
        running(elsewhere, 1)
        with (
            listening(server, "/api/runs/1/stream") as run,
            listening(server, "/api/completions/stream?after=latest") as feed,
        ):
            assert ["RunCreated", "RunStarted"] == [run.next().data["type"] for _ in range(2)]
            elsewhere.complete(1)
            *_, signal = run.rest()
            assert "completed" == signal.data["db_status"]
            assert (1, "completed") == ended(feed.next())
        with listening(server, f"/api/runs/1/stream?after={signal.id}") as late:
            assert [signal] == late.rest()


def test_who_comes_late_is_told_at_once_and_who_knows_it_is_sent_away(
    tracker: RunTracker, server: Server
) -> None:
    """Also behind a position; with the id of the last word there is nothing left: 204 ends a browser's attempts."""
    running(tracker, 1)
    tracker.fail(1, "no")
    with listening(server, "/api/runs/1/stream") as stream:
        *messages, signal = stream.rest()
    assert (3, "failed") == (len(messages), signal.data["db_status"])
    with listening(server, f"/api/runs/1/stream?after={signal.id}") as stream:
        assert [signal] == stream.rest()
    with listening(
        server, "/api/runs/1/stream?after=0", last_event_id=str(messages[0].id)
    ) as stream:
        assert [*messages[1:], signal] == stream.rest()
    gone = httpx.get(f"{server.url}/api/runs/1/stream", headers={"Last-Event-ID": str(signal.id)})
    assert (204, b"") == (gone.status_code, gone.content)


def test_a_verdict_is_told_with_a_warning_and_corrected_for_who_comes_back(
    tracker: RunTracker, server: Server
) -> None:
    """A lost run ends with `status_update_failed`; when the real outcome arrives, the old position is no last word any more."""
    tracker.create("import", run_id=1, deadline=timedelta(milliseconds=20))
    with listening(server, "/api/runs/1/stream") as stream:
        assert "RunCreated" == stream.next().data["type"]
        wait_until(lambda: bool(tracker.sweep()))
        lost, warning, signal = stream.rest()
    assert ("RunLost", "log", "warning") == (lost.data["type"], warning.kind, warning.data["level"])
    assert warning.data["message"].startswith("No outcome was recorded: declared lost (overdue)")
    assert {
        "run_id": 1, "complete": True, "db_status": "failed", "status_update_failed": True
    } == signal.data  # fmt: skip
    tracker.cancel(1)
    with listening(server, "/api/runs/1/stream", last_event_id=str(signal.id)) as stream:
        cancelled, corrected = stream.rest()
    assert ("RunCancelled", "cancelled") == (cancelled.data["type"], corrected.data["db_status"])


def test_an_outcome_that_could_not_be_stored_is_told_as_what_it_is(tmp_path: Path) -> None:
    """The work is done and the store says running: listeners hear both, also those who come then; later the store's word counts."""
    path = tmp_path / "runs.db"
    with (
        RunTracker(path, retry_attempts=1, retry_budget=0.1, heartbeat=3600) as tracker,
        serving(tracker) as server,
    ):
        running(tracker, 1)
        other = sqlite3.connect(path, isolation_level=None)
        with listening(server, "/api/runs/1/stream") as stream:
            assert "RunCreated" == stream.next().data["type"]
            other.execute("BEGIN IMMEDIATE")
            assert (
                202 == httpx.post(f"{server.url}/api/runs/1/complete", timeout=PATIENCE).status_code
            )
            _, warning, signal = stream.rest()
        assert (None, "completed", "Failed to record completed: ") == (
            signal.id, warning.data["outcome"], warning.data["message"][:28],
        )  # fmt: skip
        told = {"run_id": 1, "complete": True, "db_status": "running", "status_update_failed": True}
        assert told == signal.data
        with listening(server, "/api/runs/1/stream") as stream:
            assert told == stream.rest()[-1].data
        other.execute("ROLLBACK")
        other.close()
        tracker.deliver_spool()
        with listening(server, "/api/runs/1/stream") as stream:
            assert "completed" == stream.rest()[-1].data["db_status"]


def test_an_unknown_run_and_a_wrong_position_are_problems(server: Server) -> None:
    """Before a stream begins."""
    assert (404, "run-not-found") == problem(httpx.get(f"{server.url}/api/runs/x/stream"))
    for path in ("/api/runs/x/stream", "/api/completions/stream"):
        answer = httpx.get(f"{server.url}{path}", headers={"Last-Event-ID": "abc"})
        assert (422, "invalid-input") == problem(answer)


def test_the_feed_goes_on_from_any_position_without_a_gap(
    tracker: RunTracker, server: Server
) -> None:
    """From the beginning, from a position, from the last event id, or from now on; what ends meanwhile comes in order."""
    for number in range(3):
        running(tracker, number)
        tracker.complete(number)
    with listening(server, "/api/completions/stream") as stream:
        seen = [stream.next() for _ in range(3)]
    assert [0, 1, 2] == [event.data["run_id"] for event in seen]
    assert {"run_id": 0, "complete": True, "db_status": "completed"} == seen[0].data
    with (
        listening(server, f"/api/completions/stream?after={seen[1].id}") as behind,
        listening(server, "/api/completions/stream?after=0", last_event_id=str(seen[0].id)) as back,
        listening(server, "/api/completions/stream?after=latest") as new,
    ):
        running(tracker, 3)
        tracker.cancel(3)
        assert [2, 3] == [behind.next().data["run_id"] for _ in range(2)]
        assert [1, 2, 3] == [back.next().data["run_id"] for _ in range(3)]
        assert (3, "cancelled") == ended(new.next())


def test_a_listener_that_is_slower_than_the_ring_misses_nothing(
    tracker: RunTracker, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads the store until it has caught up."""
    monkeypatch.setattr("lastword.infrastructure.web.streaming.hub._RING", 5)
    monkeypatch.setattr("lastword.infrastructure.web.streaming.hub._BATCH", 4)
    running(tracker, 1)
    with (
        listening(server, "/api/runs/1/stream") as run,
        listening(server, "/api/completions/stream") as feed,
    ):
        run.next()
        for number in range(100, 140):
            running(tracker, number)
            tracker.complete(number)
            tracker.progress(1, number)
        tracker.complete(1)
        *messages, signal = run.rest()
        assert [*range(100, 140)] == [
            event.data["event"]["current"]
            for event in messages
            if event.data["type"] == "RunProgressed"
        ]
        assert "completed" == signal.data["db_status"]
        assert [*range(100, 140), 1] == [feed.next().data["run_id"] for _ in range(41)]


def test_a_store_that_is_away_for_a_while_ends_no_stream(tmp_path: Path) -> None:
    """What happens meanwhile is told when it is back; nobody is told that anything has ended."""
    store = FaultyStore(open_store(tmp_path / "runs.db"))
    with RunTracker(store=store) as tracker, serving(tracker) as server:
        running(tracker, 1)
        with (
            listening(server, "/api/runs/1/stream") as run,
            listening(server, "/api/completions/stream") as feed,
        ):
            run.next()
            store.go_down(transient=True)
            store.calls.clear()
            wait_until(lambda: store.calls.count("last_position") > 1)
            assert (503, "store-unavailable") == problem(httpx.get(f"{server.url}/api/runs/1"))
            with RunTracker(tmp_path / "runs.db") as elsewhere:
                elsewhere.cancel(1)
            store.come_back()
            assert "cancelled" == run.rest()[-1].data["db_status"]
            assert (1, "cancelled") == ended(feed.next())


def test_a_server_that_ends_says_nothing_about_runs(tracker: RunTracker) -> None:
    """Streams end promptly and without `complete`; the client goes on elsewhere from its last id."""
    running(tracker, 1)
    with (
        serving(tracker) as server,
        listening(server, "/api/runs/1/stream") as run,
        listening(server, "/api/completions/stream") as feed,
    ):
        last = [run.next(), run.next()][-1]
        began = monotonic()
        server.stop()
        assert [] == run.rest()
        assert [] == feed.rest()
        assert monotonic() - began < 3
    tracker.complete(1)
    with (
        serving(tracker) as server,
        listening(server, "/api/runs/1/stream", last_event_id=str(last.id)) as run,
    ):
        assert ["RunCompleted", True] == [
            event.data.get("type", event.data.get("complete")) for event in run.rest()
        ]


def test_a_client_that_leaves_is_noticed_and_frees_everything(
    tracker: RunTracker, server: Server
) -> None:
    """Its place, and with the last one the watcher's thread."""
    running(tracker, 1)
    desk = desk_of(server)
    with (
        listening(server, "/api/runs/1/stream") as run,
        listening(server, "/api/completions/stream"),
    ):
        run.next()
        wait_until(lambda: desk.hub.listening == 2)
        assert 1 == len(_watchers())
    wait_until(lambda: desk.hub.listening == 0 and not _watchers())
    assert {} == dict(desk.turnstile._open)


def test_a_silent_stream_says_that_it_is_there(tracker: RunTracker, server: Server) -> None:
    """With comments, which no client takes for an event."""
    running(tracker, 1)
    desk_of(server).keepalive_seconds = 0.02
    with (
        listening(server, "/api/runs/1/stream?after=99") as run,
        listening(server, "/api/completions/stream") as feed,
    ):
        for stream in (run, feed):
            line = ""
            while line != ": still here":
                line = next(stream._lines)
        tracker.complete(1)
        assert "complete" == run.rest()[-1].kind


def test_one_client_has_a_limited_number_of_streams(tracker: RunTracker) -> None:
    """One more is refused with 429, until another one is closed."""
    with serving(tracker, streams_per_client=2) as server:
        path = f"{server.url}/api/completions/stream"
        with listening(server, "/api/completions/stream"):
            with listening(server, "/api/completions/stream"):
                answer = httpx.get(path)
                assert (429, "too-many-streams") == problem(answer)
                assert "10" == answer.headers["retry-after"]
            wait_until(lambda: desk_of(server).hub.listening == 1)
            with listening(server, "/api/completions/stream"):
                pass


def test_fifty_listeners_cost_one_thread(tracker: RunTracker, server: Server) -> None:
    """Nobody polls for himself: one watcher for all, and each of them hears the end."""
    running(tracker, 1)
    before = threading.active_count()
    streams: list[Any] = []
    with httpx.Client(
        base_url=server.url, limits=httpx.Limits(max_connections=None), timeout=PATIENCE
    ) as client:
        for number in range(50):
            path = "/api/completions/stream?after=latest" if number % 2 else "/api/runs/1/stream"
            streams.append(client.send(client.build_request("GET", path), stream=True))
        wait_until(lambda: desk_of(server).hub.listening == 50)
        assert 1 == len(_watchers())
        assert threading.active_count() - before <= 1 + 8  # and the desk's readers
        tracker.complete(1)
        for response in streams:
            lines = response.iter_lines()
            assert any(line == "event: complete" for line in lines)
            response.close()


def test_a_run_of_a_manager_in_this_process_is_heard_as_it_speaks(tracker: RunTracker) -> None:
    """Its messages come as `log`, its events as ever, and the signal after both."""
    go = threading.Event()

    def work(context: RunContext) -> None:
        assert go.wait(PATIENCE)
        context.log("info", "reading", folder="in")

    with RunManager(tracker) as manager, serving(tracker, manager=manager) as server:
        manager.start_run("import", work, run_id=1)
        with listening(server, "/api/runs/1/stream") as stream:
            assert ["RunCreated", "RunStarted"] == [stream.next().data["type"] for _ in range(2)]
            go.set()
            *between, signal = stream.rest()
    assert {"RunCompleted", "reading"} == {
        event.data.get("type", event.data.get("message")) for event in between
    }
    (said,) = (event for event in between if event.kind == "log")
    assert ("in", None) == (said.data["folder"], said.id)
    assert {"run_id": 1, "complete": True, "db_status": "completed"} == signal.data


def test_a_manager_that_cannot_store_an_outcome_says_so_on_the_stream(tmp_path: Path) -> None:
    """The work completed, the store says running: the warning and the signal, and no promise of an id."""
    path, go = tmp_path / "runs.db", threading.Event()
    with (
        RunTracker(path, retry_attempts=1, retry_budget=0.1, heartbeat=3600) as tracker,
        RunManager(tracker) as manager,
        serving(tracker, manager=manager) as server,
    ):
        manager.start_run("import", lambda _: go.wait(PATIENCE), run_id=1)
        with listening(server, "/api/runs/1/stream") as stream:
            assert ["RunCreated", "RunStarted"] == [stream.next().data["type"] for _ in range(2)]
            other = sqlite3.connect(path, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            go.set()
            warning, signal = stream.rest()
        with listening(server, "/api/runs/1/stream") as late:
            assert [warning.data, signal.data] == [event.data for event in late.rest()[-2:]]
        other.execute("ROLLBACK")
        other.close()
    assert ("log", "completed") == (warning.kind, warning.data["outcome"])
    assert (None, "running", True) == (
        signal.id, signal.data["db_status"], signal.data["status_update_failed"],
    )  # fmt: skip


def _watchers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "lastword-web-watcher"]

"""Commands over HTTP: what is recorded, what is a repeat, what is refused, and how a remote worker is kept in view."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browsing import Client, problem
from lastword import Failure, RunTracker
from lastword.testing import RunClock
from lastword.web import create_app


@pytest.fixture
def client(run_tracker: RunTracker) -> Client:
    return Client(create_app(run_tracker))


def names(tracker: RunTracker, run_id: int | str) -> list[str]:
    return [recorded.type for recorded in tracker.history(run_id)]


def test_a_whole_life(run_tracker: RunTracker, client: Client) -> None:
    """Created, started, progressed, completed: each command says what happened."""
    created = client.post("/api/runs", {"name": "import", "run_id": 17, "params": {"folder": "in"}})
    assert (201, "/api/runs/17") == (created.status_code, created.headers["location"])
    assert {
        "run_id": 17, "status": "pending", "stored": True, "events": ["RunCreated"], "cancel_requested": False
    } == created.json()  # fmt: skip
    said: list[Any] = []
    for command, body in [
        ("start", None),
        ("progress", {"current": 3, "total": 10, "step": "extract"}),
        ("complete", {"result": {"rows": 10}}),
        ("complete", {"result": {"rows": 10}}),
    ]:
        answer = client.post(f"/api/runs/17/{command}", body)
        assert 200 == answer.status_code, answer.text
        said.append((answer.json()["status"], answer.json()["events"]))
    assert [
        ("running", ["RunStarted"]),
        ("running", ["RunProgressed"]),
        ("completed", ["RunCompleted"]),
        ("completed", []),
    ] == said
    view = run_tracker.get(17)
    assert ({"rows": 10}, 3, "extract") == (view.result, view.progress_current, view.current_step)


def test_creating_again_is_a_repeat_and_other_content_a_conflict(
    run_tracker: RunTracker, client: Client
) -> None:
    """200 for the same id, name and params, in either type of the id; 409 for anything else, and nothing is written."""
    body = {"name": "import", "run_id": 1, "params": {"a": 1}}
    assert 201 == client.post("/api/runs", body).status_code
    for run_id in (1, "1"):
        again = client.post("/api/runs", {**body, "run_id": run_id})
        assert (200, 1, []) == (again.status_code, again.json()["run_id"], again.json()["events"])
    other = client.post("/api/runs", {**body, "params": {"a": 2}})
    assert (409, "run-already-exists") == problem(other)
    assert 1 == other.json()["run_id"]
    assert ["RunCreated"] == names(run_tracker, 1)


def test_a_run_without_an_id_gets_one(client: Client) -> None:
    """And `Location` leads to it; an id with a slash is encoded there."""
    fresh = client.post("/api/runs", {"name": "import"})
    assert fresh.json()["run_id"] == client.get(fresh.headers["location"]).json()["run_id"]
    named = client.post("/api/runs", {"name": "import", "run_id": "a/b c"})
    assert "/api/runs/a%2Fb%20c" == named.headers["location"]
    assert "a/b c" == client.get(named.headers["location"]).json()["run_id"]


def test_one_run_per_exclusive_key(client: Client) -> None:
    """The problem names the run that holds it."""
    client.post("/api/runs", {"name": "import", "run_id": 1, "exclusive": "nightly"})
    answer = client.post("/api/runs", {"name": "import", "run_id": 2, "exclusive": "nightly"})
    assert (409, "run-already-active") == problem(answer)
    assert (2, 1) == (answer.json()["run_id"], answer.json()["active_run_id"])


def test_everything_that_python_can_say_of_a_new_run(
    run_tracker: RunTracker, run_clock: RunClock, client: Client
) -> None:
    """Tags, actor, correlation, parent, attempt, deadline, lease."""
    told = {
        "tags": {"team": "data"}, "actor": "cron", "correlation_id": "req-1", "parent_id": 5, "attempt": 2,
        "retry_of": "one", "exclusive": "k",
    }  # fmt: skip
    times = {"deadline_seconds": 90, "lease_seconds": 5.5}
    client.post("/api/runs", {"name": "import", "run_id": 1, **told, **times})
    view = run_tracker.get(1).model_dump(mode="json")
    assert told == {key: view[key] for key in told}
    assert 5.5 == view["lease_seconds"]
    deadline = run_tracker.get(1).deadline_at
    assert deadline is not None
    assert 90 == (deadline - run_clock.now).total_seconds()


def test_a_failure_is_sanitised(run_tracker: RunTracker, client: Client) -> None:
    """Paths and secrets do not get into the store; what a command ended with does."""
    client.post("/api/runs", {"name": "import", "run_id": 1})
    message = "no such file: /home/ann/in.csv password=hunter2"
    trace = 'File "/srv/app/main.py", line 3'
    body = {"type": "OSError", "message": message, "traceback": trace, "exit_code": 3}
    answer = client.post("/api/runs/1/fail", body)
    assert ("failed", ["RunFailed"]) == (answer.json()["status"], answer.json()["events"])
    view = run_tracker.get(1)
    assert ("OSError", "no such file: <path> password=***", 3) == (
        view.error_type,
        view.error_message,
        view.exit_code,
    )
    stored = str(client.get("/api/runs/1/events").json())
    assert "/srv/app" not in stored
    assert "hunter2" not in stored


def test_an_outcome_is_never_lost_to_its_result(client: Client) -> None:
    """A result that is too large is left out, with a note."""
    client.post("/api/runs", {"name": "import", "run_id": 1})
    client.post("/api/runs/1/start")
    answer = client.post("/api/runs/1/complete", {"result": "x" * 70_000})
    assert (200, "completed") == (answer.status_code, answer.json()["status"])
    run = client.get("/api/runs/1").json()
    assert run["result"] is None
    assert run["note"].startswith("result left out: expected at most 65,536 bytes")


def test_cancelling_asks_and_the_worker_confirms(run_tracker: RunTracker, client: Client) -> None:
    """A pending run is cancelled at once; of a running one it is requested, every answer says so, and the worker has the last word."""
    for run_id in (1, 2):
        client.post("/api/runs", {"name": "import", "run_id": run_id})
    asked = client.post("/api/runs/1/cancel", {"reason": "no need", "actor": "ann"}).json()
    assert ("cancelled", ["CancellationRequested", "RunCancelled"]) == (
        asked["status"],
        asked["events"],
    )
    client.post("/api/runs/2/start")
    assert client.post("/api/runs/2/heartbeat").json()["cancel_requested"] is False
    assert "running" == client.post("/api/runs/2/cancel").json()["status"]
    assert client.post("/api/runs/2/heartbeat").json()["cancel_requested"] is True
    assert client.post("/api/runs/2/progress", {"current": 1}).json()["cancel_requested"] is True
    stopped = client.post("/api/runs/2/cancel", {"stopped": True}).json()
    assert ("cancelled", ["RunCancelled"]) == (stopped["status"], stopped["events"])


@pytest.mark.parametrize(
    ("command", "body"),
    [
        ("complete", {}), ("progress", {"current": 1}), ("heartbeat", {}),
    ],
)  # fmt: skip
def test_what_the_status_does_not_allow_is_a_conflict(
    client: Client, command: str, body: dict[str, Any]
) -> None:
    """The problem says from where to where."""
    client.post("/api/runs", {"name": "import", "run_id": 1})
    answer = client.post(f"/api/runs/1/{command}", body)
    assert (409, "invalid-transition") == problem(answer)
    assert (1, "pending") == (answer.json()["run_id"], answer.json()["found"])


@pytest.mark.parametrize(
    "command", ["start", "progress", "complete", "fail", "cancel", "heartbeat"]
)
def test_an_unknown_run_is_not_found_however_often_one_asks(client: Client, command: str) -> None:
    """Also when progress comes faster than it is stored."""
    body = {"progress": {"current": 1}, "fail": {"message": "no"}}.get(command, {})
    for _ in range(2):
        assert (404, "run-not-found") == problem(client.post(f"/api/runs/nobody/{command}", body))


def test_progress_that_comes_fast_is_held(run_clock: RunClock) -> None:
    """202: the newest is stored with the last word."""
    tracker = RunTracker("sqlite:///:memory:", clock=run_clock)
    client = Client(create_app(tracker))
    client.post("/api/runs", {"name": "import", "run_id": 1})
    client.post("/api/runs/1/start")
    answers = [client.post("/api/runs/1/progress", {"current": number}) for number in range(4)]
    assert [200, 202, 202, 202] == [answer.status_code for answer in answers]
    assert answers[1].json()["stored"] is False
    client.post("/api/runs/1/complete")
    assert 3 == tracker.get(1).progress_current
    late = client.post("/api/runs/1/progress", {"current": 9})
    assert (409, "invalid-transition") == problem(late)
    tracker.close()


# -- bodies


@pytest.mark.parametrize(
    "body",
    [
        {}, {"name": ""}, {"name": 1}, {"name": "n", "nmae": 1}, {"name": "n", "run_id": True},
        {"name": "n", "run_id": 1.5}, {"name": "n", "run_id": ""}, {"name": "n", "run_id": "a\nb"},
        {"name": "n", "run_id": "x" * 201}, {"name": "n", "tags": {"a": 1}}, {"name": "n", "params": [1]},
        {"name": "n", "params": {"a": "x" * 70_000}}, {"name": "n", "lease_seconds": 0},
        {"name": "n", "deadline_seconds": 1e18}, {"name": "n", "attempt": 0}, {"name": "a\u2028b"}, [],
    ],
)  # fmt: skip
def test_a_body_that_cannot_be_recorded_is_refused(
    run_tracker: RunTracker, client: Client, body: Any
) -> None:
    """Before anything is written."""
    assert (422, "invalid-input") == problem(client.post("/api/runs", body))
    assert 0 == sum(run_tracker.counts().values())


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b'{"name": "n"}', "text/plain", 415),
        (b'{"name": "n"}', "application/x-www-form-urlencoded", 415),
        (b'{"name": "n"}', None, 415),
        (b'{"name": ', "application/json", 400),
        (b'{"name": "n", "params": {"a": NaN}}', "application/json", 422),
        (b'{"name": "n", "attempt": 1' + b"0" * 5000 + b"}", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"name": "n", "params": {"a": "\\ud800"}}', "application/json", 422),
        (b"\xff\xfe", "application/json", 400),
        (b'{"name": "n"}', "application/json; charset=utf-8", 201),
    ],
)
def test_only_json_is_read(client: Client, content: bytes, kind: str | None, status: int) -> None:
    """Another type is 415, so that a form of another site is never taken; broken JSON is 400."""
    headers = {} if kind is None else {"content-type": kind}
    answer = client.ask("POST", "/api/runs", content=content, headers=headers)
    assert status == answer.status_code, answer.text
    if status != 201:
        problem(answer)


# -- workers in any language


def test_a_heartbeat_keeps_a_remote_worker_in_view(
    run_tracker: RunTracker, run_clock: RunClock, client: Client
) -> None:
    """With it the run is fine; without it the run is silent, never `owner_gone`, even if the worker names this host and a dead pid."""
    import socket

    client.post("/api/runs", {"name": "import", "run_id": 1})
    owner = {"host": socket.gethostname(), "pid": 2**22 + 1}
    client.post("/api/runs/1/start", {"owner": owner})
    for _ in range(5):
        run_clock.advance(seconds=50)
        beat = client.post("/api/runs/1/heartbeat")
        assert (200, 60.0) == (beat.status_code, beat.json()["lease_seconds"])
        assert client.get("/api/runs/1").json()["flag"] is None
    run_clock.advance(seconds=61)
    assert "silent" == client.get("/api/runs/1").json()["flag"]["reason"]
    client.post("/api/runs/1/heartbeat")
    assert client.get("/api/runs/1").json()["flag"] is None


def test_each_run_has_a_lease_of_its_own_unless_the_worker_names_its_process(
    run_clock: RunClock, client: Client
) -> None:
    """Host and pid tell people who it is; only with the start time do runs of one process share a heartbeat."""
    process = {"host": "build-3", "pid": 7, "started_at": "2026-02-05T20:00:00Z"}
    owners = {
        1: {"host": "build-3", "pid": 7},
        2: {"host": "build-3", "pid": 7},
        3: process,
        4: process,
    }
    for run_id, owner in owners.items():
        client.post("/api/runs", {"name": "import", "run_id": run_id})
        client.post(f"/api/runs/{run_id}/start", {"owner": owner})
    run_clock.advance(seconds=50)
    client.post("/api/runs/1/heartbeat")
    client.post("/api/runs/3/heartbeat")
    run_clock.advance(seconds=50)
    assert [2] == [run["run_id"] for run in client.get("/api/flagged").json()]


def test_a_start_whose_answer_was_lost_can_be_repeated(client: Client) -> None:
    """By the same host and pid; anybody else, or who does not say who it is, finds the run taken."""
    for run_id in (1, 2):
        client.post("/api/runs", {"name": "import", "run_id": run_id})
    me = {"owner": {"host": "build-3", "pid": 7}}
    assert ["RunStarted"] == client.post("/api/runs/1/start", me).json()["events"]
    again = client.post("/api/runs/1/start", me)
    assert (200, []) == (again.status_code, again.json()["events"])
    other = {"owner": {"host": "build-3", "pid": 8}}
    assert (409, "invalid-transition") == problem(client.post("/api/runs/1/start", other))
    assert 200 == client.post("/api/runs/2/start").status_code
    assert (409, "invalid-transition") == problem(client.post("/api/runs/2/start"))


@pytest.mark.parametrize(
    "owner",
    [
        {"host": "a", "pid": 1, "started_at": "2026-02-05T20:00:00"}, {"started_at": "2026-02-05T20:00:00Z"},
        {"pid": -1}, {"host": ""}, {"boot": 1},
    ],
)  # fmt: skip
def test_an_owner_that_cannot_be_is_refused(client: Client, owner: dict[str, Any]) -> None:
    """Naive times, half of an identity."""
    client.post("/api/runs", {"name": "import", "run_id": 1})
    answer = client.post("/api/runs/1/start", {"owner": owner})
    assert (422, "invalid-input") == problem(answer)


def test_nobody_beats_for_a_process_that_beats_itself(
    run_tracker: RunTracker, client: Client
) -> None:
    """A heartbeat over HTTP would hide that a Python process is silent."""
    run_tracker.create("import", run_id=1)
    run_tracker.start(1)
    answer = client.post("/api/runs/1/heartbeat")
    assert (409, "not-the-owner") == problem(answer)


# -- when the store is away


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[tuple[RunTracker, sqlite3.Connection, list[Failure]]]:
    """A tracker whose store somebody else holds locked."""
    failures: list[Failure] = []
    path = tmp_path / "runs.db"
    with RunTracker(
        path, retry_attempts=1, retry_budget=0.1, heartbeat=3600, on_alert=[failures.append]
    ) as tracker:
        tracker.create("import", run_id=1)
        tracker.start(1)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        yield tracker, other, failures
        other.close()


def test_an_outcome_is_taken_while_the_store_is_away(
    locked: tuple[RunTracker, sqlite3.Connection, list[Failure]],
) -> None:
    """202: it is on this machine's disk, and delivered when the store is back."""
    tracker, other, failures = locked
    client = Client(create_app(tracker))
    answer = client.post("/api/runs/1/complete", {"result": 1})
    assert (202, False, "completed") == (
        answer.status_code,
        answer.json()["stored"],
        answer.json()["status"],
    )
    assert [(1, True)] == [(failure.run_id, failure.kept) for failure in failures]
    assert "running" == client.get("/api/runs/1").json()["status"]
    other.execute("ROLLBACK")
    tracker.deliver_spool()
    assert "completed" == client.get("/api/runs/1").json()["status"]


def test_what_is_safe_nowhere_must_be_sent_again(
    locked: tuple[RunTracker, sqlite3.Connection, list[Failure]],
) -> None:
    """503 with Retry-After when the spool cannot be written either, and no path of this machine in the answer."""
    tracker, other, _ = locked
    folder = tracker.spool_folder
    assert folder is not None
    if folder.exists():
        folder.rmdir()
    folder.write_text("no folder")
    client = Client(create_app(tracker))
    answer = client.post("/api/runs/1/complete", {"result": 1})
    assert (503, "store-unavailable") == problem(answer)
    assert (True, "2") == (answer.json()["retryable"], answer.headers["retry-after"])
    assert str(folder.parent) not in answer.text
    other.execute("ROLLBACK")
    again = client.post("/api/runs/1/complete", {"result": 1})
    assert (200, "completed") == (again.status_code, again.json()["status"])


def test_an_exclusive_run_cannot_be_promised_without_the_store(
    locked: tuple[RunTracker, sqlite3.Connection, list[Failure]],
) -> None:
    """503: nobody could say whether another run holds the key."""
    client = Client(create_app(locked[0]))
    answer = client.post("/api/runs", {"name": "import", "run_id": 2, "exclusive": "k"})
    assert (503, "store-unavailable") == problem(answer)

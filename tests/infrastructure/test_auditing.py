"""Audits through the tracker and the command line: as-of, verify, seal."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import pytest

from commandline import json_lines
from contracts.kit import MovingClock, Writer
from lastword import InvalidInput, Owner, RunCompleted, RunNotFound, RunStatus, RunTracker
from lastword.infrastructure.cli.app import run
from lastword.infrastructure.spooling.spool import Spool
from lastword.infrastructure.sqlite import SQLiteStore
from lastword.projections.ports import NewEvent
from lastword.projections.problems import Problem, ProblemKind
from lastword.testing import START

HOUR = timedelta(hours=1)
GONE = Owner(host="elsewhere", pid=17, started_at=START)


class Answer(NamedTuple):
    code: int
    out: str
    err: str


Cli = Callable[..., Answer]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def clock() -> MovingClock:
    return MovingClock()


@pytest.fixture
def tracker(path: Path, clock: MovingClock) -> Iterator[RunTracker]:
    """At START a run is created, an hour later it is started, two hours later it completes and another one is created."""
    with RunTracker(path, clock=clock) as tracker:
        tracker.create("import", run_id="old-1")
        clock.now += HOUR
        tracker.start("old-1", owner=GONE)
        clock.now += HOUR
        tracker.complete("old-1", result=1)
        tracker.create("report", run_id="new-2", tags={"team": "data"})
        yield tracker


@pytest.fixture
def cli(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Calls `lastword` with these arguments."""
    monkeypatch.setenv("LASTWORD_URL", str(path))

    def call(*arguments: str) -> Answer:
        code = run(arguments)
        written = capsys.readouterr()
        return Answer(code, written.out, written.err)

    return call


def alter(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as raw, raw:
        for statement in statements:
            raw.execute(statement)


def kinds(problems: tuple[Problem, ...]) -> set[ProblemKind]:
    return {problem.kind for problem in problems}


# -- time travel


def test_a_run_at_each_moment(tracker: RunTracker) -> None:
    """None before it was there; an unknown run, or a naive moment, is an error."""
    at = [tracker.as_of("old-1", START + hours * HOUR) for hours in (-1, 0, 1, 2)]
    assert [None, "pending", "running", "completed"] == [view and view.status for view in at]
    assert [None, 1, 2, 3] == [view and view.version for view in at]
    with pytest.raises(RunNotFound):
        tracker.as_of("never", START)
    for ask in (tracker.status_at, lambda when: tracker.as_of("old-1", when)):
        with pytest.raises(InvalidInput, match="naive"):
            ask(datetime(2026, 1, 1))  # noqa: DTZ001  # that is the point
    with pytest.raises(InvalidInput, match="by: expected"):
        tracker.status_at(START, "stored")  # pyright: ignore[reportArgumentType]  # that is the point


def test_all_runs_at_each_moment(tracker: RunTracker) -> None:
    """Counts and active runs, without flags: that the owner is silent now says nothing of then."""
    snapshots = [tracker.status_at(START + hours * HOUR) for hours in (-1, 0, 1, 2)]
    assert [0, 1, 2, 4] == [snapshot.position for snapshot in snapshots]
    assert [[], ["pending"], ["running"], ["pending"]] == [
        [view.status for view in snapshot.active] for snapshot in snapshots
    ]
    assert all(view.flag is None for snapshot in snapshots for view in snapshot.active)
    assert 1 == snapshots[3].counts[RunStatus.COMPLETED]


def test_as_of_on_the_command_line(cli: Cli, tracker: RunTracker) -> None:
    """All runs, or one; for people, or as the model's fields."""
    moment = (START + HOUR).isoformat()
    answer = cli("as-of", moment)
    assert (0, "") == (answer.code, answer.err)
    assert answer.out.startswith("At 2026-01-01 01:00:00 UTC, what the store knew:\n")
    assert "old-1" in answer.out
    (snapshot,) = json_lines(cli("as-of", moment, "--json").out)
    assert tracker.status_at(START + HOUR).model_dump(mode="json") == snapshot
    assert cli("as-of", moment, "old").out.startswith("Run old-1 (import) is running for 0.00 s.")
    (view,) = json_lines(cli("as-of", moment, "old", "--json").out)
    assert ("running", None, 2) == (view["status"], view["flag"], view["version"])


def test_as_of_before_a_run_was_there(cli: Cli, tracker: RunTracker) -> None:
    """No output but a remark; for all runs the counts are zero."""
    early = (START - HOUR).isoformat()
    said = "lastword: run old-1 did not exist yet at 2025-12-31 23:00:00 UTC\n"
    assert (0, "", said) == cli("as-of", early, "old-1")
    assert (0, "", said) == cli("as-of", early, "old-1", "--json")
    (snapshot,) = json_lines(cli("as-of", early, "--json").out)
    assert ({status.value: 0 for status in RunStatus}, []) == (
        snapshot["counts"],
        snapshot["active"],
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["as-of", "2026-01-01"], "write 2026-01-01T00:00Z for UTC"),
        (["as-of", "yesterday"], "or how long ago such as 2h"),
        (["as-of", "2h", "never"], "run never: expected to find it"),
        (["as-of", "2h", "--by", "stored"], "'stored' is not one of"),
        (["verify", "--seal", "none.seal"], "seal none.seal: expected to read a seal"),
        (["verify", "--seal", "runs.db"], "found the store itself"),
        (["seal", "runs.db"], "found the store itself"),
        (["seal", "a.seal", "--after", "none.seal"], "seal none.seal: expected to read a seal"),
    ],
)
def test_what_cannot_be_answered_is_exit_code_2(
    cli: Cli,
    tracker: RunTracker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    said: str,
) -> None:
    """One line with the remedy; nothing is written."""
    monkeypatch.chdir(tmp_path)
    answer = cli(*arguments)
    assert (2, "", True) == (answer.code, answer.out, said in answer.err)
    assert [] == list(tmp_path.glob("*.seal"))


def test_what_was_true_on_the_command_line(cli: Cli, path: Path, clock: MovingClock) -> None:
    """An outcome that came late was true before it was known."""
    with closing(SQLiteStore(path, clock=clock)) as store:
        writer = Writer(store)
        writer.start(1, GONE)
        clock.now += HOUR
        writer.add(1, RunCompleted(), at=START + timedelta(seconds=30))
    moment = (START + timedelta(minutes=1)).isoformat()
    for by, status in (("recorded", "running"), ("occurred", "completed")):
        (snapshot,) = json_lines(cli("as-of", moment, "--by", by, "--json").out)
        (view,) = json_lines(cli("as-of", moment, "1", "--by", by, "--json").out)
        assert (1, status, by) == (snapshot["counts"][status], view["status"], snapshot["by"])
    told = "At 2026-01-01 00:01:00 UTC, what was true, as far as is known:"
    assert cli("as-of", moment, "--by", "occurred").out.startswith(told)


# -- verify


@pytest.mark.parametrize(
    ("statement", "kind", "position"),
    [
        ("UPDATE events SET topic = 'RunPaused' WHERE position = 2", ProblemKind.NEWER, 2),
        ("UPDATE events SET state = '{\"v\":9}' WHERE position = 2", ProblemKind.NEWER, 2),
        ("UPDATE events SET state = x'00' WHERE position = 2", ProblemKind.UNDECODABLE, 2),
        ("UPDATE events SET event_id = NULL WHERE position = 2", ProblemKind.UNDECODABLE, 2),
        ("UPDATE events SET actor = CAST(x'ff41' AS TEXT) WHERE position = 2", ProblemKind.UNDECODABLE, 2),
        ("UPDATE events SET topic = CAST(x'ff41' AS TEXT) WHERE position = 2", ProblemKind.NEWER, 2),
        ("DELETE FROM events WHERE position = 2", ProblemKind.GAP, None),
        ("UPDATE runs SET number = 99 WHERE run_key = 'old-1'", ProblemKind.ROW, None),
        ("UPDATE runs SET name = CAST(x'ff41' AS TEXT) WHERE run_key = 'old-1'", ProblemKind.ROW, None),
        ("UPDATE runs SET name = 'other' WHERE run_key = 'old-1'", ProblemKind.ROW, None),
        ("UPDATE runs SET run_key = CAST(x'ff41' AS TEXT) WHERE run_key = 'old-1'", ProblemKind.ROW, None),
        ("DELETE FROM runs WHERE run_key = 'old-1'", ProblemKind.ROW, None),
        ("DELETE FROM events WHERE originator_id = 'old-1'", ProblemKind.ROW, None),
        ("UPDATE status_counts SET runs = 9 WHERE status = 'failed'", ProblemKind.COUNTER, None),
        ("DELETE FROM run_tags", ProblemKind.TAG, None),
        ("UPDATE owners SET owner = 'x'", ProblemKind.OWNER, None),
    ],
)  # fmt: skip
def test_verify_says_where_and_what_to_do(
    cli: Cli, path: Path, tracker: RunTracker, statement: str, kind: ProblemKind, position: int
) -> None:
    """Exit code 1, a line for each problem; no damage is a crash."""
    tracker.close()
    alter(path, statement)
    answer = cli("verify", "--json")
    (report,) = json_lines(answer.out)
    assert (1, "", False) == (answer.code, answer.err, report["ok"])
    assert kind in {problem["kind"] for problem in report["problems"]}
    assert position in {problem["position"] for problem in report["problems"]}
    answer = cli("verify")
    assert len(report["problems"]) + 1 == len(answer.out.splitlines())
    assert 1 == answer.code


def test_events_of_the_store_belong_to_no_run(path: Path, tracker: RunTracker) -> None:
    """They have the key "" and are left out, not taken for a run without a row."""
    tracker.close()
    alter(
        path,
        """INSERT INTO events SELECT 5, '', 1, 'RunsArchived', '{"runs":0,"file":"a","fingerprint":"","leaves":{}}',"""
        " randomblob(16), occurred_at, recorded_at,"
        " NULL, NULL, NULL FROM events WHERE position = 4",
    )
    with RunTracker(path) as tracker:
        report = tracker.verify()
    assert (True, 2, 4) == (report.ok, report.runs, report.events)


def test_progress_goes_from_one_to_all(tracker: RunTracker) -> None:
    """In runs, with the number of all of them."""
    steps: list[tuple[int, int]] = []
    tracker.verify(lambda done, total: steps.append((done, total)))
    assert (2, 2) == steps[-1]
    assert steps == sorted(steps)


def test_a_lease_of_the_far_future_is_told(tracker: RunTracker, clock: MovingClock) -> None:
    """It would keep its owner's runs from ever being flagged; a clock that is minutes ahead is none of that."""
    tracker.store.renew_lease(GONE, clock.now + timedelta(minutes=30))
    assert tracker.verify().ok
    tracker.store.renew_lease(GONE, clock.now + 2 * HOUR)
    (problem,) = tracker.verify().problems
    assert (ProblemKind.LEASE, None) == (problem.kind, problem.run_id)
    assert "elsewhere|17|" in problem.what


def test_what_is_left_in_the_spool_is_told(path: Path, tracker: RunTracker) -> None:
    """Pending events of a process that is gone, torn and rejected lines; what a living process keeps is its own business."""
    folder = tracker.spool_folder
    assert folder is not None
    living, gone = Spool(folder), Spool(folder)
    event = NewEvent(uuid4().hex, RunCompleted(), datetime.now(UTC))
    assert living.keep("unknown", [event])
    assert tracker.verify().ok
    assert gone.keep("unknown", [event, event])
    gone.close()
    (folder / "1-x.torn").write_bytes(b"half a li\n")
    (folder / "1-x.rejected").write_bytes(b"one\ntwo\n")
    report = tracker.verify()
    assert {ProblemKind.SPOOL} == kinds(report.problems)
    said = " ".join(sorted(problem.what for problem in report.problems))
    assert all(text in said for text in ("left 2 events", "found 1 lines", "found 2 lines"))
    assert 3 == len(report.problems)
    living.close()


# -- seal


def test_a_seal_on_the_command_line(
    cli: Cli, path: Path, tracker: RunTracker, tmp_path: Path
) -> None:
    """Sealed, sealed again behind it, verified with both; then a byte is changed, and the position is named."""
    first, second = str(tmp_path / "1.seal"), str(tmp_path / "2.seal")
    answer = cli("seal", first)
    assert 0 == answer.code
    assert answer.out.startswith("sealed 4 events up to position 4\ndigest ")
    assert f"keep {first} where" in answer.err
    tracker.start("new-2", owner=GONE)
    (made,) = json_lines(cli("seal", second, "--after", first, "--json").out)
    assert (5, 5, 4) == (made["position"], made["events"], made["after"]["events"])
    assert answer.out.split()[-1] == made["after"]["digest"]
    seen = "ok: 2 runs with 5 events, and the log is as it was sealed:"
    assert (0, f"{seen} 4 events up to position 4\n", "") == cli("verify", "--seal", first)
    assert (0, f"{seen} 5 events up to position 5\n", "") == cli("verify", "--seal", second)
    alter(path, "UPDATE events SET actor = 'nobody' WHERE position = 3")
    assert 0 == cli("verify").code
    answer = cli("verify", "--seal", first)
    assert (1, True) == (answer.code, answer.out.startswith("seal 1.seal: position 3: expected "))
    (report,) = json_lines(cli("verify", "--seal", second, "--json").out)
    assert (False, False) == (report["ok"], report["seal"]["differs_at"] is None)
    again = cli("seal", first)
    assert (2, True) == (again.code, "never written over" in again.err)


def test_sealing_leaves_the_store_alone(tracker: RunTracker, tmp_path: Path) -> None:
    """Nothing is appended, and appending goes on while a seal is written."""
    before = tracker.store.last_position()
    tracker.seal(tmp_path / "a.seal")
    log = tracker.store.log()
    next(log)
    tracker.create("meanwhile")
    assert before + 1 == tracker.store.last_position()
    assert tracker.verify(seal=tmp_path / "a.seal").ok


def test_a_store_in_memory_can_be_sealed(tmp_path: Path) -> None:
    """As long as it lives."""
    with RunTracker("sqlite:///:memory:") as tracker:
        run_id = tracker.create("import")
        tracker.seal(tmp_path / "a.seal")
        tracker.start(run_id)
        assert tracker.verify(seal=tmp_path / "a.seal").ok

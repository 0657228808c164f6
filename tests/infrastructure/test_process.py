"""`lastword run -- CMD` as people use it: real processes, real stores."""

import hashlib
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from commandline import (
    LASTWORD,
    PATIENCE,
    environment,
    events,
    gone,
    json_lines,
    lastword,
    only_run,
    started,
    until,
)
from lastword import RunTracker

PYTHON = sys.executable

LOUD = """
import os, sys
block = bytes(range(256)) * 4096
for number in range(50):
    rest = memoryview(block)
    while rest:
        rest = rest[os.write(1 + number % 2, rest):]
with open(f"/proc/{os.getppid()}/status") as status, open(sys.argv[1], "w") as peak:
    peak.write(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""
"""50 MB, by turns to stdout and stderr; then the greatest memory, in KiB, that its parent ever had."""
LOUD_MEGABYTES = 50


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


def test_output_and_exit_code_are_the_commands_own(store: Path) -> None:
    """Bytes that are no text pass through both streams; the end of stderr is kept, without what is secret."""
    script = r"printf 'out\377\n'; printf 'err\377 token=abc\n' >&2; exit 7"
    done = lastword(store, "run", "--name", "odd", "--tag", "team=data", "--", "sh", "-c", script)

    assert (7, b"out\xff\n", b"err\xff token=abc\n") == (done.returncode, done.stdout, done.stderr)
    view = only_run(store)
    assert ("odd", "failed", "ExitCode", 7) == (
        view.name,
        view.status,
        view.error_type,
        view.exit_code,
    )
    assert "exit code 7: err\ufffd token=***" == view.error_message
    assert {"team": "data"} == view.tags
    assert {"command": ["sh", "-c", mask(script)]} == view.params


def mask(script: str) -> str:
    return script.replace(r"token=abc\n'", "token=***'")


@pytest.mark.parametrize("merged", [True, False])
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_50_megabytes_pass_through_unchanged_in_flat_memory(
    store: Path, tmp_path: Path, merged: bool
) -> None:
    """Two streams keep their bytes; one stream for both keeps even the order of the writes."""
    out, err = tmp_path / "out", tmp_path / "err"
    with out.open("wb") as first, err.open("wb") as second:
        done = subprocess.run(
            [*LASTWORD, "run", "--", PYTHON, "-c", LOUD, str(tmp_path / "peak")],
            env=environment(store),
            stdout=first,
            stderr=first if merged else second,
            timeout=PATIENCE,
            check=False,
        )

    assert 0 == done.returncode
    files = [out] if merged else [out, err]
    share = bytes(range(256)) * 4096 * (LOUD_MEGABYTES // len(files))
    assert [digest(share)] * len(files) == [digest(file.read_bytes()) for file in files]
    python_and_its_libraries = 90 * 1024  # KiB; no part of the 50 MB
    assert int((tmp_path / "peak").read_text()) < python_and_its_libraries


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_order_of_both_streams_is_kept_where_they_are_one(store: Path) -> None:
    """`2>&1`: what was written first comes first, every time."""
    script = "i=0; while [ $i -lt 300 ]; do echo $i; i=$((i+1)); echo $i >&2; i=$((i+1)); done"
    done = subprocess.run(
        [*LASTWORD, "run", "--", "sh", "-c", script],
        env=environment(store),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=PATIENCE,
        check=True,
    )
    assert [*range(300)] == [int(line) for line in done.stdout.splitlines()]


def test_death_by_signal_is_recorded_with_its_name(store: Path) -> None:
    """The out-of-memory killer's way: exit code 137, and the run says SIGKILL."""
    done = lastword(store, "run", "--", "sh", "-c", "echo last words >&2; kill -KILL $$")
    assert 137 == done.returncode
    last = events(store)[-1]
    assert ("RunFailed", "SIGKILL") == (last["type"], last["event"]["signal"])
    assert "ended by SIGKILL: last words" == last["event"]["error"]["message"]
    assert "exit_code" not in last["event"]


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("no-such-command", 127, "no-such-command: command not found; check its name and $PATH"),
        (
            "./plain",
            126,
            "./plain: cannot be executed: Permission denied; is it a program and executable?",
        ),
    ],
)
def test_a_command_that_cannot_be_started_is_a_failed_run(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, code: int, said: str
) -> None:
    """The exit code is the one that a shell gives."""
    (tmp_path / "plain").write_text("no program")
    monkeypatch.chdir(tmp_path)
    done = lastword(store, "run", "--", command)
    assert (code, f"lastword: error: {said}\n") == (done.returncode, done.stderr.decode())
    view = only_run(store)
    assert ("failed", "NotStarted", code) == (view.status, view.error_type, view.exit_code)


def test_a_script_without_its_first_line_runs_as_in_a_shell(store: Path, tmp_path: Path) -> None:
    """execvp does so, and so do shells."""
    script = tmp_path / "script"
    script.write_text('echo "$1"\n')
    script.chmod(0o755)
    assert b"hello\n" == lastword(store, "run", "--", str(script), "hello").stdout


def test_no_command_is_wrong_usage_and_no_run(store: Path) -> None:
    """Nothing is recorded where nothing was asked for."""
    done = lastword(store, "run", "--name", "x", "--")
    assert 2 == done.returncode
    assert b"lastword: error: Missing argument" in done.stderr
    assert not store.exists()


def test_nested_runs_know_their_parent(store: Path, tmp_path: Path) -> None:
    """The inner run finds store and parent in its environment, from another folder too, and reports progress by itself."""
    script = (
        f"cd / && {PYTHON} -m lastword progress 3 10 --step inner &&"
        f" {PYTHON} -m lastword run --run-id inner -- sh -c 'echo $LASTWORD_RUN_ID'"
    )
    done = subprocess.run(
        [*LASTWORD, "--url", "nested.db", "run", "--run-id", "outer", "--", "sh", "-c", script],
        env={k: v for k, v in environment("").items() if k != "LASTWORD_URL"},
        cwd=tmp_path,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (0, b"inner\n", b"") == (done.returncode, done.stdout, done.stderr)
    with RunTracker(tmp_path / "nested.db") as tracker:
        inner, outer = tracker.get("inner"), tracker.get("outer")
    assert ("outer", None) == (inner.parent_id, outer.parent_id)
    assert (3, 10, "inner") == (outer.progress_current, outer.progress_total, outer.current_step)


def test_a_grandchild_that_keeps_stderr_does_not_hold_up_the_end(
    store: Path, tmp_path: Path
) -> None:
    """The run ends with its command; what the grandchild writes afterwards arrives all the same."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    script = f"(read line < {gate}; echo $line words >&2) & echo early >&2; exit 4"
    with started(store, "run", "--", "sh", "-c", script, stdout=subprocess.DEVNULL) as process:
        assert 4 == process.wait(PATIENCE)
        assert "exit code 4: early" == only_run(store).error_message
        gate.write_text("late\n")
        assert process.stderr is not None
        assert b"early\nlate words\n" == process.stderr.read()


def test_a_reader_who_leaves_is_felt_by_the_command(store: Path) -> None:
    """`lastword run -- yes 2>&1 | head -1` ends, as it would without us."""
    pipeline = f"{PYTHON} -m lastword run -- yes 2>&1 | head -1"
    done = subprocess.run(
        ["sh", "-c", pipeline],
        env=environment(store),
        capture_output=True,
        timeout=PATIENCE,
        check=True,
    )
    assert b"y\n" == done.stdout
    with RunTracker(store) as tracker:
        until(tracker, lambda: tracker.list()[0].status.is_terminal)
        assert ("failed", "Signal") == (tracker.list()[0].status, tracker.list()[0].error_type)


def test_timeout_ends_the_command_and_what_it_started(store: Path) -> None:
    """SIGTERM, and SIGKILL for what takes no notice: 124, as coreutils' timeout has it."""
    script = "trap '' TERM; sleep 600 & echo $!; wait; wait"
    done = lastword(store, "run", "--timeout", "0.3", "--grace", "0.2", "--", "sh", "-c", script)
    assert 124 == done.returncode
    view = only_run(store)
    assert ("failed", "Timeout", 124) == (view.status, view.error_type, view.exit_code)
    assert "still running after 0.3 s" == view.error_message
    assert view.deadline_at is not None
    assert gone(int(done.stdout))


def test_cancellation_from_elsewhere_reaches_the_command(store: Path) -> None:
    """`lastword cancel` in another terminal ends the command within a second or so."""
    with (
        started(store, "run", "--run-id", "7", "--", "sleep", "600") as process,
        RunTracker(store) as tracker,
    ):
        until(tracker, lambda: bool(tracker.list(status="running")))
        assert (
            b"lastword: run 7: asked to stop\n"
            == lastword(store, "cancel", "7", "--reason", "enough").stderr
        )
        assert 143 == process.wait(PATIENCE)
    assert ["RunCreated", "RunStarted", "CancellationRequested", "RunCancelled"] == [
        e["type"] for e in events(store)
    ]


def test_work_that_ends_well_after_a_cancellation_is_completed(store: Path) -> None:
    """The outcome wins over the request."""
    script = "trap 'exit 0' TERM; echo ready; while :; do read line || sleep 0.01; done"
    with started(
        store, "run", "--run-id", "7", "--", "sh", "-c", script, stdin=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        assert b"ready\n" == process.stdout.readline()
        with RunTracker(store) as tracker:
            until(tracker, lambda: bool(tracker.list(status="running")))
            tracker.request_cancel("7")
        assert 0 == process.wait(PATIENCE)
    assert "completed" == only_run(store).status


def test_one_active_run_per_exclusive_key(store: Path) -> None:
    """The second one is refused with exit code 2 before it does anything; the key is free again at the end."""
    command = ["run", "--exclusive", "nightly", "--", "sh", "-c"]
    with started(store, *command, "echo in; read line") as first:
        assert first.stdout is not None
        assert b"in\n" == first.stdout.readline()
        second = lastword(store, *command, "echo in")
        assert (2, b"") == (second.returncode, second.stdout)
        assert b"holds it; wait for its end, or `lastword cancel" in second.stderr
        first.communicate(b"go\n", timeout=PATIENCE)
    assert b"in\n" == lastword(store, *command, "echo in").stdout


def test_an_id_that_had_its_run_is_refused(store: Path) -> None:
    """A second try is a new run; the command is not started."""
    assert 0 == lastword(store, "run", "--run-id", "1", "--", "true").returncode
    again = lastword(store, "run", "--run-id", "1", "--", "echo", "x")
    assert (2, b"") == (again.returncode, again.stdout)
    assert b"run 1: expected a new id or the same content" in again.stderr


def a_folder(path: Path) -> dict[str, str]:
    path.mkdir()
    return {}


def no_database(path: Path) -> dict[str, str]:
    path.write_text("no database at all, but long enough to look at\n" * 50)
    return {}


def newer_schema(path: Path) -> dict[str, str]:
    RunTracker(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 999")
    return {}


def no_such_folder(path: Path) -> dict[str, str]:
    return {"LASTWORD_URL": str(path.parent / "nowhere" / "runs.db")}


def wrong_setting(path: Path) -> dict[str, str]:
    return {"LASTWORD_LEASE": "soon"}


TROUBLES = [a_folder, no_database, newer_schema, no_such_folder, wrong_setting]


@pytest.mark.parametrize("trouble", TROUBLES)
def test_trouble_with_the_store_does_not_touch_the_command(store: Path, trouble) -> None:
    """Same output, same exit code, no word more; --verbose says what is wrong."""
    more = trouble(store)
    done = lastword(store, "run", "--", "sh", "-c", "echo out; echo err >&2; exit 5", **more)
    assert (5, b"out\n", b"err\n") == (done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(("trouble", "code"), [(newer_schema, 3), (wrong_setting, 2)])
def test_strict_does_not_run_what_cannot_be_stored(store: Path, trouble, code: int) -> None:
    """One line says why."""
    more = trouble(store)
    done = lastword(store, "run", "--strict", "--", "echo", "out", **more)
    assert (code, b"") == (done.returncode, done.stdout)
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("lastword: error: ")
    assert trouble is not wrong_setting or "LASTWORD_LEASE" in line


def test_a_store_that_comes_back_gets_the_whole_run(store: Path) -> None:
    """Locked when the command began and when it ended: what happened is delivered by whoever opens the store next."""
    RunTracker(store).close()
    connection = sqlite3.connect(store, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    done = lastword(
        store,
        "run",
        "--",
        "sh",
        "-c",
        "exit 9",
        LASTWORD_RETRY_ATTEMPTS="1",
        LASTWORD_RETRY_BUDGET="0.2",
    )
    assert (9, b"", b"") == (done.returncode, done.stdout, done.stderr)
    connection.execute("ROLLBACK")
    connection.close()
    view = only_run(store)
    assert ("failed", 9, 3) == (view.status, view.exit_code, view.version)


def test_verbose_says_what_is_wrong_in_the_log_format_asked_for(tmp_path: Path) -> None:
    """JSON lines on stderr, and none of them on stdout."""
    done = lastword(tmp_path, "--verbose", "--log-format", "json", "run", "--", "echo", "out")
    assert (0, b"out\n") == (done.returncode, done.stdout)
    assert {"lastword.run.not_recorded", "lastword.outcome.not_recorded"} <= {
        line["event"] for line in json_lines(done.stderr)
    }

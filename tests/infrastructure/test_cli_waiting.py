"""Commands that wait for what happens, and the tour: real processes."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from commandline import LASTWORD, PATIENCE, environment, json_lines, lastword, started, until
from lastword import RunTracker


@pytest.fixture
def tracker(tmp_path: Path) -> Iterator[RunTracker]:
    with RunTracker(tmp_path / "runs.db") as tracker:
        tracker.create("import", run_id=1)
        tracker.start(1)
        yield tracker


def test_watch_follows_one_run_to_its_last_word(tracker: RunTracker) -> None:
    """What has happened, then what happens; it ends by itself."""
    with started(tracker.store.url, "watch", "1", "--json") as watch:
        assert watch.stdout is not None
        first = [json_lines(watch.stdout.readline())[0] for _ in range(2)]
        assert ["RunCreated", "RunStarted"] == [event["type"] for event in first]
        tracker.progress(1, 5, 10)
        (progress,) = json_lines(watch.stdout.readline())
        assert 5 == progress["event"]["current"]
        tracker.complete(1, result="fine")
        output, errors = watch.communicate(timeout=PATIENCE)
    assert (0, b"", ["RunCompleted"]) == (
        watch.returncode,
        errors,
        [e["type"] for e in json_lines(output)],
    )


def test_watch_says_when_the_run_looks_stuck(tracker: RunTracker) -> None:
    """Who waits for a last word that will not come hears why, and goes on waiting for the verdict."""
    with started(tracker.store.url, "run", "--run-id", "3", "--", "cat") as run:
        until(tracker, lambda: len(tracker.list(status="running")) == 2)
        with started(tracker.store.url, "watch", "3") as watch:
            assert watch.stdout is not None
            assert watch.stderr is not None
            assert watch.stdout.readline().rstrip().endswith(b"RunCreated  cat")
            run.kill()
            assert watch.stderr.readline().startswith(
                b"lastword: run 3: owner_gone: its process, pid "
            )
            tracker.sweep()
            assert 0 == watch.wait(PATIENCE)


@pytest.mark.parametrize("command", [["watch"], ["completions", "--follow", "--json"]])
def test_following_goes_on_until_it_is_interrupted(tracker: RunTracker, command: list[str]) -> None:
    """A line for each change, as it comes; Ctrl-C ends it without a word."""
    tracker.create("report", run_id="before")
    with started(tracker.store.url, *command) as following:
        assert following.stdout is not None
        number = 1
        while not select.select([following.stdout], [], [], 0.1)[0]:
            # How long the command takes to begin is its own affair: it sees what happens from then on.
            tracker.create("report", run_id=f"r{number}")
            tracker.cancel(f"r{number}")
            number += 1
            assert number < 10 * PATIENCE
        line = following.stdout.readline().decode()
        if command[0] == "watch":
            assert re.fullmatch(
                r"\d\d:\d\d:\d\d  r\d+  report  Run(Created  report|Cancelled)\n", line
            )
        else:
            assert "cancelled" == json_lines(line)[0]["db_status"]
        following.send_signal(signal.SIGINT)
        _, errors = following.communicate(timeout=PATIENCE)
    assert (130, b"") == (following.returncode, errors)


def test_watch_is_a_live_table_on_a_terminal(tracker: RunTracker) -> None:
    """The long id is cut to its end, by which the run can be named; a change shows at once."""
    run_id = str(tracker.create("nightly"))
    pid, descriptor = pty.fork()
    if pid == 0:
        command = [*LASTWORD, "watch"]
        os.execvpe(command[0], command, environment(tracker.store.url, TERM="xterm", COLUMNS="100"))
    output = b""
    end = monotonic() + PATIENCE
    cancelled = False
    while b"cancelled" not in output:
        assert monotonic() < end, output
        if select.select([descriptor], [], [], 0.1)[0]:
            output += os.read(descriptor, 65536)
        if b"pending" in output and not cancelled:
            tracker.request_cancel(run_id)
            cancelled = True
    os.kill(pid, signal.SIGINT)
    while True:  # its last lines, so that it can end
        try:
            if not os.read(descriptor, 65536):
                break
        except OSError:
            break
    os.waitpid(pid, 0)
    os.close(descriptor)
    assert run_id[-8:].encode() in output
    assert run_id.encode() not in output


def test_the_tour_ends_as_told_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """It checks itself; a signal of each kind is in it, as JSON."""
    done = lastword("", "demo", patience=6 * PATIENCE, TMPDIR=str(tmp_path))
    text = done.stdout.decode()
    assert (0, b"") == (done.returncode, done.stderr), text
    assert "NOT AS TOLD" not in text
    signals = [line.strip() for line in text.splitlines() if '"complete": true' in line]
    assert 5 == len(signals)
    assert '"complete": true, "db_status": "running", "status_update_failed": true}' in signals[3]
    assert [] == [*tmp_path.iterdir()]


def test_the_command_starts_quickly() -> None:
    """What only some commands need is not imported by all."""
    code = "import sys; from lastword.infrastructure.cli.app import run; run(['list']); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment("sqlite:///:memory:"),
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.split())
    assert "typer" in loaded
    assert set() == loaded & {
        "rich.live",
        "rich.progress",
        "lastword.infrastructure.cli.tour",
        "lastword.infrastructure.processes.process",
    }

"""`lastword demo`: four stories on a throw-away store, with real processes, each checked as it is told."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

from ..managing.manager import RunContext, RunManager
from ..tracking.tracker import RunTracker
from .output import write

_PATIENCE_SECONDS = 30.0
_LOCK = """
import sqlite3, sys
store = sqlite3.connect(sys.argv[1], isolation_level=None)
store.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""
_STYLES = {"title": "1", "typed": "36", "ok": "32", "wrong": "1;31", "dim": "2"}


def tour() -> bool:
    """Tell all stories; True if each ended as told."""
    with tempfile.TemporaryDirectory(prefix="lastword-demo-") as folder:
        guide = Guide(Path(folder))
        guide.say("Every run gets a last word, or a flag that says it never had one.")
        guide.say(
            "Four runs, each with an end of its own. What stands behind $ you can type yourself.",
            "dim",
        )
        for number, story in enumerate((completes, fails, is_killed, cannot_be_stored), start=1):
            story(guide, number)
        guide.title("What the store holds now")
        guide.type("list")
        guide.type("verify")
        guide.say("")
        if guide.wrong:
            guide.say(f"{guide.wrong} of {guide.checks} things were not as told.", "wrong")
        else:
            guide.say(
                f"All {guide.checks} things were as told. The store of this tour is gone again;",
                "ok",
            )
            guide.say("yours begins with: lastword run -- COMMAND", "ok")
    return guide.wrong == 0


class Guide:
    """Types commands for the reader, shows what they print, and checks what it says."""

    def __init__(self, folder: Path) -> None:
        self.store = folder / "runs.db"
        self.url = f"sqlite:///{self.store}"
        self.wrong = self.checks = 0
        self._colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        # What is shown is what is run, also where no `lastword` is on the path.
        shim = folder / "bin" / "lastword"
        shim.parent.mkdir()
        shim.write_text(
            f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m lastword "$@"\n', encoding="utf-8"
        )
        shim.chmod(0o755)
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith("LASTWORD_")
        }
        path = f"{shim.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        self.environment = {**kept, "PATH": path, "LASTWORD_URL": self.url, "COLUMNS": "120"}

    def title(self, text: str) -> None:
        """A new story."""
        write(f"\n{self._styled(text, 'title')}\n")

    def say(self, text: str, style: str = "") -> None:
        """A sentence."""
        write(f"{self._styled(text, style)}\n")

    def type(self, *arguments: str, expected: int = 0) -> str:
        """Run `lastword` with these arguments, show it, and return what it printed to stdout."""
        self.typed("lastword " + shlex.join(arguments))
        done = subprocess.run(  # noqa: S603  # our own commands, nobody's input
            ["lastword", *arguments],  # noqa: S607  # the shim, through the path, as the reader would
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_SECONDS,
            check=False,
        )
        for line in (done.stdout + done.stderr).splitlines():
            write(f"    {line.rstrip()}\n")
        if done.returncode != 0 or expected != 0:
            self.check(f"its exit code is {expected}", done.returncode == expected)
        return done.stdout

    def typed(self, command: str) -> None:
        """A command line."""
        write(f"  {self._styled('$ ' + command, 'typed')}\n")

    def check(self, claim: str, holds: bool) -> None:
        """Say whether something is as told."""
        self.checks += 1
        self.wrong += not holds
        mark = self._styled("ok", "ok") if holds else self._styled("NOT AS TOLD:", "wrong")
        write(f"  {mark} {claim}\n")

    def expect_signal(self, run_id: object, after: int, **expected: Any) -> int:
        """Show the signal that the feed has for the run behind a position, check it, and return its position."""
        printed = self.type("completions", "--after", str(after), "--json").splitlines()
        signals = [json.loads(line) for line in printed]
        position = signals[-1].pop("position") if signals else after
        expected = {"run_id": run_id, "complete": True, **expected}
        self.check("that is the completion signal", signals == [expected])
        return position

    def _styled(self, text: str, style: str) -> str:
        code = _STYLES.get(style)
        return f"\x1b[{code}m{text}\x1b[0m" if code and self._colours and text else text


def completes(guide: Guide, number: int) -> None:
    """A command that ends well, and tells how far it is."""
    guide.title(f"{number}. A run that completes")
    script = 'lastword progress 1 2 --step extract; lastword progress 2 2 --step load; echo "2 files imported"'
    guide.type("run", "--run-id", "import-1", "--name", "import", "--", "sh", "-c", script)
    guide.type("show", "import-1")
    with RunTracker(guide.url) as tracker:
        view = tracker.get("import-1")
        guide.check(
            "completed, and its progress is kept",
            (view.status, view.progress_current) == ("completed", 2),
        )
    guide.expect_signal("import-1", 0, db_status="completed")


def fails(guide: Guide, number: int) -> None:
    """A command that fails: its exit code is passed on, the end of its stderr is kept without the password."""
    guide.title(f"{number}. A run that fails")
    script = 'echo "no answer from postgresql://ann:hunter2@db/runs" >&2; exit 7'
    after = _last_position(guide)
    guide.type(
        "run", "--run-id", "report-1", "--name", "report", "--", "sh", "-c", script, expected=7
    )
    guide.type("history", "report-1")
    with RunTracker(guide.url) as tracker:
        message = tracker.get("report-1").error_message or ""
        guide.check(
            "the password is not in the store", "hunter2" not in message and "***@db" in message
        )
    guide.expect_signal("report-1", after, db_status="failed")


def is_killed(guide: Guide, number: int) -> None:
    """A job that is killed without a word: flagged at once, given up by a sweep."""
    guide.title(f"{number}. A run that is killed, and cannot say so")
    after = _last_position(guide)
    arguments = ["run", "--run-id", "nightly-1", "--name", "nightly", "--", "sleep", "600"]
    guide.typed("lastword " + shlex.join(arguments) + " &")
    with _started(["lastword", *arguments], guide) as job:
        with RunTracker(guide.url) as tracker:
            running = _until(tracker, lambda: bool(tracker.list(status="running", name="nightly")))
        guide.check("it is running", running)
        guide.typed(
            f"kill -9 {job.pid}    # and its sleep; the out-of-memory killer works like that"
        )
        _kill_tree(job)
    guide.type("check", expected=1)
    with RunTracker(guide.url) as tracker:
        flag = tracker.get("nightly-1").flag
        guide.check(
            "it is flagged: its process is gone", flag is not None and flag.reason == "owner_gone"
        )
    guide.type("sweep")
    guide.type("show", "nightly-1")
    guide.expect_signal("nightly-1", after, db_status="failed", status_update_failed=True)


def cannot_be_stored(guide: Guide, number: int) -> None:
    """Work that ends well while the store takes nothing: the signal says so, and the outcome is stored later."""
    guide.title(f"{number}. A run that ends while the store is unwritable")
    guide.say(
        "  A function under RunManager, in this process; another process locks the database meanwhile.",
        "dim",
    )
    after = _last_position(guide)
    locked = threading.Event()

    def export(context: RunContext) -> int:
        context.log("info", "2,000 rows written")
        locked.wait(_PATIENCE_SECONDS)
        return 2000

    # Short retries: who watches a tour does not want to wait for the usual five seconds.
    with RunTracker(guide.url, retry_attempts=2, retry_budget=0.5, heartbeat=0.5) as tracker:
        manager = RunManager(tracker)
        guide.typed(
            "python: queue = manager.register_subscriber(manager.start_run('export', export))"
        )
        run_id = manager.start_run("export", export)
        queue = manager.register_subscriber(run_id)
        _until(tracker, lambda: tracker.get(run_id).status == "running")
        with _started([sys.executable, "-c", _LOCK, str(guide.store)], guide, talks=True) as locker:
            locker.stdout.readline()
            guide.typed("sqlite3 runs.db 'BEGIN IMMEDIATE'    # and the work ends now")
            locked.set()
            messages: list[dict[str, Any]] = []
            while not (messages and messages[-1].get("complete")):
                messages.append(queue.get(timeout=_PATIENCE_SECONDS))
                write(f"    {json.dumps(messages[-1])}\n")
            expected = {
                "run_id": run_id,
                "complete": True,
                "db_status": "running",
                "status_update_failed": True,
            }
            guide.check(
                "the signal says what the store holds, and that it is not the outcome",
                messages[-1] == expected,
            )
            guide.typed("sqlite3 runs.db 'ROLLBACK'")
            locker.stdin.close()
            locker.wait(_PATIENCE_SECONDS)
        delivered = _until(tracker, lambda: tracker.get(run_id).status == "completed")
        guide.check("the outcome has been delivered by itself", delivered)
        manager.shutdown()
    guide.type("show", str(run_id))
    guide.expect_signal(run_id, after, db_status="completed")


def _last_position(guide: Guide) -> int:
    with RunTracker(guide.url) as tracker:
        return tracker.store.last_position()


def _until(tracker: RunTracker, holds: Callable[[], bool]) -> bool:
    """Wait until it holds, looking again whenever the store has something new."""
    end = monotonic() + _PATIENCE_SECONDS
    while monotonic() < end:
        position = tracker.store.last_position()
        if holds():
            return True
        tracker.store.wait(position, 0.5)
    return False


@contextmanager
def _started(command: list[str], guide: Guide, *, talks: bool = False) -> Iterator[Any]:
    """A process in the background, which does not outlive the block."""
    pipe = subprocess.PIPE if talks else subprocess.DEVNULL
    process = subprocess.Popen(  # noqa: S603  # our own commands
        command, env=guide.environment, stdin=pipe, stdout=pipe, text=True
    )
    try:
        yield process
    finally:
        _kill_tree(process)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def _kill_tree(process: subprocess.Popen[str]) -> None:
    import psutil

    if process.poll() is None:
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
        for child in family:
            child.kill()
    process.wait(_PATIENCE_SECONDS)

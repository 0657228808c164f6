"""Signals and terminals: `lastword run` between a person and a command."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import pytest

from commandline import LASTWORD, PATIENCE, environment, events, only_run, started
from lastword import RunTracker

COUNTING = """
import signal
wanted = {signal.SIGINT, signal.SIGTERM, signal.SIGUSR1}
signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
print("ready", flush=True)
while True:
    number = signal.sigwait(wanted)
    print(signal.Signals(number).name, flush=True)
    if number == signal.SIGUSR1:
        raise SystemExit(1)
"""
"""Says what reaches it, until SIGUSR1."""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


class Terminal:
    """The far end of a terminal in which a command runs."""

    def __init__(self, pid: int, descriptor: int) -> None:
        self.pid = pid
        self._descriptor = descriptor
        self.output = b""

    def type(self, keys: bytes) -> None:
        os.write(self._descriptor, keys)

    def read_until(self, pattern: bytes) -> re.Match[bytes]:
        """Everything up to what matches, or the end."""
        end = monotonic() + PATIENCE
        while (match := re.search(pattern, self.output)) is None:
            assert monotonic() < end, self.output
            if select.select([self._descriptor], [], [], 0.2)[0]:
                self.output += os.read(self._descriptor, 4096)
        return match

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@contextmanager
def in_terminal(store: Path, *command: str) -> Iterator[Terminal]:
    """The command with a terminal of its own."""
    pid, descriptor = pty.fork()
    if pid == 0:
        os.execvpe(command[0], command, environment(store))
    try:
        yield Terminal(pid, descriptor)
    finally:
        os.close(descriptor)  # hangs up whatever still runs there


def test_ctrl_c_in_a_terminal_reaches_the_command_exactly_once(store: Path) -> None:
    """The terminal sends it to both; we do not send it again."""
    with in_terminal(store, *LASTWORD, "run", "--", sys.executable, "-c", COUNTING) as terminal:
        terminal.read_until(rb"ready\r\n")
        terminal.type(b"\x03")
        terminal.read_until(rb"SIGINT\r\n")
        os.kill(
            terminal.pid, signal.SIGUSR1
        )  # what is passed on before that has arrived before that
        terminal.read_until(rb"SIGUSR1\r\n")
        assert 1 == terminal.wait()
    said = terminal.output.replace(b"^C", b"")  # the terminal's own echo
    assert b"ready\r\nSIGINT\r\nSIGUSR1\r\n" == said
    assert "cancelled" == only_run(store).status


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_wrapper_reaches_the_command_exactly_once(
    store: Path, number: signal.Signals
) -> None:
    """`kill` reaches the wrapper alone, which passes it on."""
    with started(store, "run", "--", sys.executable, "-c", COUNTING) as process:
        assert process.stdout is not None
        assert b"ready\n" == process.stdout.readline()
        process.send_signal(number)
        assert f"{number.name}\n".encode() == process.stdout.readline()
        process.send_signal(signal.SIGUSR1)
        assert b"SIGUSR1\n" == process.stdout.readline()
        assert 1 == process.wait(PATIENCE)
    last = events(store)[-1]
    assert ("RunCancelled", f"{number.name} received") == (last["type"], last["event"]["reason"])


def test_exit_code_after_a_signal_is_the_commands_own(store: Path) -> None:
    """A command that the signal ends: 128 and its number; the run is cancelled."""
    with started(store, "run", "--", "sh", "-c", "echo ready; exec sleep 600") as process:
        assert process.stdout is not None
        assert b"ready\n" == process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert 128 + signal.SIGTERM == process.wait(PATIENCE)
    assert "cancelled" == only_run(store).status


def test_a_killed_wrapper_leaves_the_command_alone_and_the_run_flagged(store: Path) -> None:
    """Nobody can report the end any more; the flag says so."""
    with started(store, "run", "--", "sh", "-c", "echo ready; read line; echo $line") as process:
        assert process.stdout is not None
        assert b"ready\n" == process.stdout.readline()
        process.kill()
        process.wait(PATIENCE)
        (view,) = RunTracker(store).flagged()
        assert view.flag is not None
        assert "owner_gone" == view.flag.reason
        output, _ = process.communicate(b"still here\n", timeout=PATIENCE)
        assert b"still here\n" == output


def test_an_ignored_signal_stays_ignored(store: Path) -> None:
    """`nohup lastword run` survives the hang-up, and so does its command."""
    script = 'trap "" HUP; exec "$@"'
    command = [
        "sh",
        "-c",
        script,
        "sh",
        *LASTWORD,
        "run",
        "--",
        "sh",
        "-c",
        "kill -HUP $PPID $$; echo alive",
    ]
    done = subprocess.run(
        command, env=environment(store), capture_output=True, timeout=PATIENCE, check=False
    )
    assert (0, b"alive\n") == (done.returncode, done.stdout)
    assert "completed" == only_run(store).status


def test_a_terminal_stays_a_terminal_for_the_command(store: Path) -> None:
    """All three streams; line ends are made once, order and size are kept."""
    script = (
        "import os, sys; print([os.isatty(n) for n in (0, 1, 2)], os.get_terminal_size(2).columns)\n"
        "for n in range(40): os.write(1 + n % 2, b'%d\\n' % n)\n"
        "sys.exit(3)"
    )
    with in_terminal(
        store,
        "sh",
        "-c",
        'stty cols 97; "$@"; echo "code $?"',
        "sh",
        *LASTWORD,
        "run",
        "--",
        sys.executable,
        "-c",
        script,
    ) as terminal:
        terminal.read_until(rb"code 3\r\n")
    numbers = "".join(f"{number}\r\n" for number in range(40))
    assert f"[True, True, True] 97\r\n{numbers}code 3\r\n" == terminal.output.decode()


def test_stopping_and_going_on_works_as_in_any_shell(store: Path) -> None:
    """Ctrl-Z stops command and wrapper together; `fg` goes on with both."""
    with in_terminal(store, "bash", "--norc", "-i") as shell:
        shell.type(
            b"PS1=; "
            + " ".join(LASTWORD).encode()
            + b" run -- sh -c 'echo in''side; read line; echo got $line'\n"
        )
        shell.read_until(rb"inside\r\n")
        shell.type(b"\x1a")
        shell.read_until(rb"Stopped")
        with RunTracker(store) as tracker:
            owner = tracker.list()[0].owner
        assert owner is not None
        shell.type(b"fg\n")
        shell.type(b"words\n")
        shell.read_until(rb"got words\r\n")
        shell.type(b"exit $?\n")
        assert 0 == shell.wait()
    assert "completed" == only_run(store).status

"""One child process: starting it, passing signals on to it exactly once, ending it, and how it ended."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from types import TracebackType
from typing import Any, NamedTuple, Self

from ..logs import get_logger
from .relay import Relay

log = get_logger("lastword.child")

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Signals that ask work to end."""
_PASSED_ON = (*_ENDING, signal.SIGUSR1, signal.SIGUSR2)
_IGNORED_BY_PYTHON = [
    getattr(signal, name) for name in ("SIGPIPE", "SIGXFSZ") if hasattr(signal, name)
]


class Arrival(NamedTuple):
    """A signal that reached this process."""

    number: signal.Signals
    shared: bool
    """True when it came from the terminal, which sends it to the command too."""


class SignalGate:
    """Holds signals back, so that they can be taken one by one with their origin; nothing is interrupted by them.

    Threads that are started inside inherit it: open it before any other thread. Signals that were ignored stay ignored.
    """

    def __enter__(self) -> Self:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        wanted = {s for s in _PASSED_ON if signal.getsignal(s) is not signal.SIG_IGN}
        self._held = {*wanted, signal.SIGCHLD, signal.SIGWINCH}
        self._thread = threading.get_ident()
        self.before = signal.pthread_sigmask(signal.SIG_BLOCK, self._held)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        while self.wait(0) is not None:
            pass  # what came too late for the command must not end us either
        signal.pthread_sigmask(signal.SIG_SETMASK, self.before)

    def wait(self, seconds: float) -> Arrival | None:
        """The next signal; None when there was none in this time."""
        info = signal.sigtimedwait(self._held, max(0.0, seconds))
        if info is None:
            return None
        return Arrival(signal.Signals(info.si_signo), shared=info.si_code > 0)

    def pending(self) -> signal.Signals | None:
        """A signal that asks work to end and has not been taken yet."""
        waiting = signal.sigpending() & self._held
        return next((number for number in _ENDING if number in waiting), None)

    def wake(self) -> None:
        """End a `wait` early; for other threads."""
        signal.pthread_kill(self._thread, signal.SIGCHLD)


@dataclass(slots=True)
class Ending:
    """How a command ended, and what was done to it before. Times in seconds."""

    status: int = 0
    """Its exit code, or minus the number of the signal that ended it."""
    timed_out: bool = False
    cancelled: bool = False
    """Somebody requested it through the store."""
    signalled: signal.Signals | None = None
    """The first signal that asked it to end."""
    tail: bytes = b""
    """The end of its stderr."""

    @property
    def exit_code(self) -> int:
        """As a shell would report it: 128 and the signal's number, for one that ended by a signal."""
        return self.status if self.status >= 0 else 128 - self.status

    @property
    def signal_name(self) -> str | None:
        """Of the signal that ended it, e.g. ``SIGKILL``."""
        if self.status >= 0:
            return None
        try:
            return signal.Signals(-self.status).name
        except ValueError:
            return f"signal {-self.status}"  # a real-time signal


@dataclass(slots=True)
class Limits:
    """What ends a command that does not end by itself."""

    timeout: float | None = None
    grace: float = 5.0
    """Between SIGTERM and SIGKILL."""
    cancel: threading.Event = field(default_factory=threading.Event)
    """Set it, then `SignalGate.wake`."""


class Child:
    """A command that runs with our stdin, stdout, process group and terminal."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], gate: SignalGate):
        self._gate = gate
        self._relay = _relay_if_possible()
        try:
            self._pid = _spawn(command, environment, gate, self._relay)
        except OSError:
            if self._relay is not None:
                self._relay.started()
                self._relay.finish()
            raise
        if self._relay is not None:
            self._relay.started()
        self._began = monotonic()
        self._tree: list[Any] = []

    def wait(self, limits: Limits) -> Ending:
        """Until it has ended, passing signals on; what it wrote has been passed on too."""
        ending = Ending()
        kill_at = None
        while (status := self._ended()) is None:
            arrival = self._gate.wait(self._patience(limits, ending, kill_at))
            if arrival is not None:
                self._pass_on(arrival, ending)
            if limits.cancel.is_set() and not ending.cancelled:
                ending.cancelled = True
                kill_at = kill_at or self._terminate(limits)
            if self._late(limits) and not ending.timed_out:
                ending.timed_out = True
                kill_at = kill_at or self._terminate(limits)
            if kill_at is not None and monotonic() >= kill_at:
                self._kill()
                kill_at = None
        ending.status = status
        ending.signalled = ending.signalled or self._gate.pending()  # it was faster than we were
        if self._relay is not None:
            self._relay.finish()
            ending.tail = self._relay.tail
        return ending

    # -- inside

    def _ended(self) -> int | None:
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None

    def _patience(self, limits: Limits, ending: Ending, kill_at: float | None) -> float:
        moments = [self._began + limits.timeout] if limits.timeout and not ending.timed_out else []
        moments += [] if kill_at is None else [kill_at]
        return min((moment - monotonic() for moment in moments), default=3600.0)

    def _late(self, limits: Limits) -> bool:
        return limits.timeout is not None and monotonic() - self._began >= limits.timeout

    def _pass_on(self, arrival: Arrival, ending: Ending) -> None:
        if arrival.number == signal.SIGWINCH:
            if self._relay is not None and self._relay.resized():
                self._send(
                    arrival.number
                )  # again: it may have asked for the size before it was set
        elif arrival.number != signal.SIGCHLD:
            if arrival.number in _ENDING:
                ending.signalled = ending.signalled or arrival.number
            if not arrival.shared:
                self._send(arrival.number)

    def _send(self, number: signal.Signals) -> None:
        try:
            os.kill(self._pid, number)
        except ProcessLookupError:
            log.debug("lastword.child.gone", signal=number.name)

    def _terminate(self, limits: Limits) -> float:
        """SIGTERM to the command and all that it started; when SIGKILL is due."""
        self._tree = self._processes()
        for number in (signal.SIGTERM, signal.SIGCONT):  # what is stopped must wake up to end
            self._signal_tree(number)
        return monotonic() + limits.grace

    def _kill(self) -> None:
        self._tree = [*{*self._tree, *self._processes()}]
        self._signal_tree(signal.SIGKILL)

    def _processes(self) -> list[Any]:
        import psutil

        try:
            command = psutil.Process(self._pid)
            return [*command.children(recursive=True), command]
        except psutil.Error:
            return []

    def _signal_tree(self, number: signal.Signals) -> None:
        import psutil

        for process in self._tree:
            try:
                process.send_signal(number)
            except psutil.Error as error:
                log.debug("lastword.child.not_signalled", signal=number.name, error=str(error))


def _relay_if_possible() -> Relay | None:
    """None where our stderr is closed, or no pipe can be had; the command then inherits what there is."""
    try:
        return Relay()
    except (OSError, RuntimeError) as error:
        log.warning("lastword.relay.none", error=str(error))
        return None


def _spawn(
    command: Sequence[str], environment: Mapping[str, str], gate: SignalGate, relay: Relay | None
) -> int:
    """Raises OSError: FileNotFoundError, PermissionError, or whatever else stands in the way."""
    actions = [] if relay is None else relay.file_actions

    def spawn(program: str, arguments: Sequence[str]) -> int:
        return os.posix_spawnp(
            program,
            [*arguments],
            environment,
            file_actions=actions,
            setsigmask=gate.before,
            setsigdef=_IGNORED_BY_PYTHON,
        )

    try:
        return spawn(command[0], command)
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
        # A script without its first line: shells run it all the same.
        script = shutil.which(command[0]) or command[0]
        return spawn("/bin/sh", ["sh", script, *command[1:]])

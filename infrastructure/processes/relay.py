"""Passing on what a command writes to stderr, byte for byte, and keeping the end of it.

The command writes into a pipe, or into a pseudo-terminal where our stderr is a terminal, and a thread copies it on. Where stdout and
stderr are one file, terminal or pipe, both go the same way, so that their order stays what it was. Stdout on its own is never
touched: the command inherits it.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import termios
import threading
from time import monotonic

from ..logs import get_logger

log = get_logger("lastword.relay")

TAIL_BYTES = 4096
"""How much of the end is kept."""

_CHUNK = 65536
_LINGER_SECONDS = 0.2
"""How long after the command's end its own children may still write before somebody else takes over."""

_STDIN, _STDOUT, _STDERR = 0, 1, 2
_IFLAG, _OFLAG, _CFLAG, _LFLAG, _ISPEED, _OSPEED, _CC = range(7)


def keep_standard_streams_taken() -> None:
    """Where 0, 1 or 2 is closed, take the number, so that no file of ours gets it and is written to by mistake."""
    for number in (_STDIN, _STDOUT, _STDERR):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)


class Relay:
    """Carries one command's stderr, and its stdout where both are the same.

    It copies from the start. Give `file_actions` to ``posix_spawn``, then call `started`; after the command's end `finish`.
    Raises OSError where there is no pipe or terminal to be had, RuntimeError where there is no thread.
    """

    def __init__(self) -> None:
        self._terminal = os.isatty(_STDERR)
        merged = os.path.samestat(os.fstat(_STDOUT), os.fstat(_STDERR))
        self._carried = (_STDOUT, _STDERR) if merged else (_STDERR,)
        if self._terminal:
            self._source, self._sink = os.openpty()
            self._modes = self._like_ours()
        else:
            self._source, self._sink = os.pipe()
        self._wake_reader, self._wake_writer = os.pipe()
        self._tail = bytearray()
        self._total = 0
        self._open = True
        self._thread = threading.Thread(target=self._copy, name="lastword-relay", daemon=True)
        self._thread.start()

    @property
    def file_actions(self) -> list[tuple[int, int, int]]:
        """What puts the command's descriptors in place."""
        return [(os.POSIX_SPAWN_DUP2, self._sink, number) for number in self._carried]

    @property
    def tail(self) -> bytes:
        """The last 4 KiB. Where the beginning is cut, it starts behind the word or line that the cut broke."""
        tail = bytes(self._tail)
        if self._total <= TAIL_BYTES:
            return tail
        _, line_break, rest = tail.partition(b"\n")
        if line_break and len(rest) > TAIL_BYTES // 2:
            return rest
        words = tail.split(maxsplit=1)
        return words[1] if len(words) > 1 else b""

    def started(self) -> None:
        """The command runs, or cannot be started: only it may write from here on."""
        os.close(self._sink)

    def resized(self) -> bool:
        """Our terminal has another size now; True if the command's is another one, which has been told."""
        if not self._terminal or not self._open:
            return False
        try:
            termios.tcsetwinsize(self._source, termios.tcgetwinsize(_STDERR))
        except (OSError, termios.error) as error:
            log.debug("lastword.relay.size_unknown", error=str(error))
        return True

    def finish(self) -> None:
        """The command has ended: copy what it left, and return.

        Where one of its own children still holds stderr, that goes on being copied by a process of its own.
        """
        os.write(self._wake_writer, b".")
        self._thread.join()
        if self._open:
            self._hand_over()
            self._close()
        os.close(self._wake_reader)
        os.close(self._wake_writer)

    # -- inside

    def _copy(self) -> None:
        poll = select.poll()
        poll.register(self._source, select.POLLIN)
        poll.register(self._wake_reader, select.POLLIN)
        while self._open:
            ready = [descriptor for descriptor, _ in poll.poll()]
            if self._wake_reader in ready:
                self._copy_rest()
                return
            self._pass_on()

    def _copy_rest(self) -> None:
        owed = struct.unpack("i", fcntl.ioctl(self._source, termios.FIONREAD, b"\0" * 4))[0]
        until = monotonic() + _LINGER_SECONDS
        poll = select.poll()
        poll.register(self._source, select.POLLIN)
        while self._open and (owed > 0 or monotonic() < until):
            left = max(0.0, until - monotonic())
            if not poll.poll(left * 1000):
                return
            owed -= self._pass_on()

    def _pass_on(self) -> int:
        """Read once, write it all; how many bytes that were."""
        try:
            chunk = os.read(self._source, _CHUNK)
        except OSError:  # how a pseudo-terminal says that nobody has it open any more
            chunk = b""
        if not chunk:
            self._close()
            return 0
        self._total += len(chunk)
        self._tail += chunk[-TAIL_BYTES:]
        del self._tail[:-TAIL_BYTES]
        if self._terminal:
            self._mirror_modes()
        try:
            _write(_STDERR, chunk)
        except OSError:
            # Nobody reads our stderr any more; the command gets to feel it at its next write, as it would without us.
            self._close()
        return len(chunk)

    def _close(self) -> None:
        if self._open:
            self._open = False
            if self._terminal:
                self._mirror_modes()
            os.close(self._source)

    def _hand_over(self) -> None:
        log.debug("lastword.relay.handed_over")
        quiet = (os.POSIX_SPAWN_OPEN, _STDERR, os.devnull, os.O_WRONLY, 0)
        actions = [
            (os.POSIX_SPAWN_DUP2, _STDERR, _STDOUT),
            (os.POSIX_SPAWN_DUP2, self._source, _STDIN),
            quiet,
        ]
        try:
            os.posix_spawnp("cat", ["cat"], os.environ, file_actions=actions)
        except OSError as error:
            log.warning("lastword.relay.not_handed_over", error=str(error))

    def _like_ours(self) -> list[int]:
        """Make the pseudo-terminal like our terminal, except that ours alone turns newlines into line ends."""
        modes = termios.tcgetattr(_STDERR)
        modes[_OFLAG] &= ~termios.OPOST
        termios.tcsetattr(self._sink, termios.TCSANOW, modes)
        termios.tcsetwinsize(self._sink, termios.tcgetwinsize(_STDERR))
        return termios.tcgetattr(self._source)

    def _mirror_modes(self) -> None:
        """Full-screen programs set how keys are read through the terminal they write to: set ours likewise."""
        try:
            modes = termios.tcgetattr(self._source)
            if modes == self._modes:
                return
            self._modes = modes
            ours = termios.tcgetattr(_STDERR)
            for index in (_IFLAG, _LFLAG, _CC):
                ours[index] = modes[index]
            termios.tcsetattr(_STDERR, termios.TCSANOW, ours)
        except termios.error as error:
            log.debug("lastword.relay.modes_unknown", error=str(error))


def _write(target: int, data: bytes) -> None:
    """All of it, also where the descriptor does not block."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(target, view) :]
        except BlockingIOError:
            select.select([], [target], [])

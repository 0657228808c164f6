"""From a URL to a store."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..domain.errors import InvalidInput, StoreUnavailable
from ..projections.ports import RunStore
from .clock import Clock, now_utc

SQLITE = "sqlite:///"


def default_path() -> Path:
    """The store's file in the user's data directory; the folder is made when it is missing. Raises `StoreUnavailable`."""
    from platformdirs import user_data_path

    folder = user_data_path("lastword", appauthor=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(
            f"store {folder}: expected to make the user's data directory, found {error.strerror or error};"
            " name a store with url= or LASTWORD_URL",
            transient=False,
        ) from error
    return folder / "runs.db"


def sqlite_path(url: str) -> str | None:
    """The path of a SQLite store, or None when the URL names another kind.

    >>> sqlite_path("sqlite:///runs.db"), sqlite_path("sqlite:////var/runs.db"), sqlite_path("runs.db")
    ('runs.db', '/var/runs.db', 'runs.db')
    """
    if url.startswith(SQLITE):
        return url.removeprefix(SQLITE)
    return None if "://" in url else url


def open_store(
    url: str | Path | None, *, clock: Clock | None = None, busy_timeout: float = 5.0
) -> RunStore:
    """The store behind a path, ``sqlite:///path``, ``sqlite:///:memory:`` or ``postgresql://...``; None: the user's data directory.

    `clock` None is this machine's clock for a file, and the server's for PostgreSQL. `busy_timeout`, in seconds, is how long one attempt
    waits for a lock or an answer. Raises `InvalidInput` for a URL of an unknown kind, `StoreUnavailable`, `StoreCorrupt`,
    `UnsupportedSchema`.
    """
    if is_postgres(url):
        return _postgres(str(url), clock, busy_timeout)
    path = str(default_path()) if url is None else sqlite_path(str(url))
    if path is None:
        kind = str(url).split("://", 1)[0]
        raise InvalidInput(
            f"url: expected a path, sqlite:///PATH, sqlite:///:memory: or postgresql://HOST/DATABASE, found the kind {kind!r};"
            " this release stores runs in SQLite and PostgreSQL"
        )
    if not path:
        raise InvalidInput(
            "url: expected a path behind sqlite:///, found none; sqlite:///:memory: keeps runs in memory"
        )
    from .sqlite import SQLiteStore

    return SQLiteStore(path, clock=clock or now_utc, busy_timeout=busy_timeout)


def is_postgres(url: str | Path | None) -> bool:
    """Whether a URL names a store in PostgreSQL.

    >>> is_postgres("postgresql://db/runs"), is_postgres("runs.db")
    (True, False)
    """
    return str(url).startswith(("postgresql://", "postgres://"))


def _postgres(url: str, clock: Clock | None, busy_timeout: float) -> RunStore:
    try:
        import psycopg  # noqa: F401  # to tell a missing extra from a fault in our own modules
    except ImportError as error:
        raise StoreUnavailable(
            f"url: expected the driver for PostgreSQL, found that it cannot be imported ({error});"
            " pip install 'lastword[postgres]'",
            transient=False,
        ) from error
    from .postgres import PostgresStore

    return PostgresStore(url, clock=clock, busy_timeout=busy_timeout)


def spool_folder(store_url: str, configured: Path | None) -> Path | None:
    """Where events wait that this store does not take: beside its file, or in a folder of its own below the configured one.

    None for a store in memory, which ends with the process anyway.

    >>> spool_folder("sqlite:////var/runs.db", None).as_posix()
    '/var/runs.db.spool'
    """
    path = sqlite_path(store_url)
    if path == ":memory:":
        return None
    if configured is not None:
        return configured / hashlib.sha256(store_url.encode()).hexdigest()[:16]
    if path is not None:
        return Path(path + ".spool")
    from platformdirs import user_state_path

    name = hashlib.sha256(store_url.encode()).hexdigest()[:16]
    return user_state_path("lastword", appauthor=False) / "spool" / name

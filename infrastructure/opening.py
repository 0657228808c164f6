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
    url: str | Path | None, *, clock: Clock = now_utc, busy_timeout: float = 5.0
) -> RunStore:
    """The store behind a path, ``sqlite:///path`` or ``sqlite:///:memory:``; None: the user's data directory.

    `busy_timeout`, in seconds, is how long one attempt waits for a lock. Raises `InvalidInput` for a URL of an unknown kind,
    `StoreUnavailable`, `StoreCorrupt`, `UnsupportedSchema`.
    """
    path = str(default_path()) if url is None else sqlite_path(str(url))
    if path is None:
        kind = str(url).split("://", 1)[0]
        raise InvalidInput(
            f"url: expected a path, sqlite:///PATH or sqlite:///:memory:, found the kind {kind!r};"
            " this release stores runs in SQLite"
        )
    if not path:
        raise InvalidInput(
            "url: expected a path behind sqlite:///, found none; sqlite:///:memory: keeps runs in memory"
        )
    from .sqlite import SQLiteStore

    return SQLiteStore(path, clock=clock, busy_timeout=busy_timeout)


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

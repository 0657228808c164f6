"""From a URL to a store."""

from __future__ import annotations

from pathlib import Path

from ..domain.errors import InvalidInput
from ..projections.ports import RunStore
from .clock import Clock, now_utc

SQLITE = "sqlite:///"


def default_path() -> Path:
    """The store's file in the user's data directory; the folder is made when it is missing."""
    from platformdirs import user_data_path

    folder = user_data_path("lastword", appauthor=False)
    folder.mkdir(parents=True, exist_ok=True)
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

"""The store in a SQLite file, or in memory."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import cast

import structlog

from ...domain.errors import InvalidInput
from ...domain.events import RecordedEvent
from ...domain.status import RunStatus
from ...domain.values import Owner, RunId, run_key, to_micros, utc
from ...projections.ports import Append, Appended, ScannedRun
from ...projections.queries import Cursor, Page, RunQuery
from ...projections.run_view import PROJECTION_VERSION, RunView
from ..clock import now_utc
from ..mapper import EventMapper, recorded_event
from . import queries
from .datastore import ThreadDatastore
from .faults import translate, translated
from .network import mounts, network_filesystem
from .opening import prepare_file, prepare_memory
from .rebuilding import Rebuild, stored_projection
from .recorder import (
    SELECT_EVENTS,
    GuardRefusedError,
    Projection,
    RunRecorder,
)
from .rows import SELECT_VIEW, id_of, view_of
from .scanning import scan
from .waiting import wait_for_event

log = structlog.get_logger()

MEMORY = ":memory:"

_ACTIVE_BATCH = 500
_REBUILD_PATIENCE = 600.0


class SQLiteStore:
    """Runs in a SQLite file; see `RunStore` for what each method promises.

    ``":memory:"`` keeps them in this process until `close`. The file is made when it is missing, its folder is not.
    `clock` gives `recorded_at`; `busy_timeout`, in seconds, is how long one attempt waits for a lock.

    Raises `StoreUnavailable`, `StoreCorrupt` when the file is something else, `UnsupportedSchema` when a newer release wrote it.

    >>> with_runs = SQLiteStore(":memory:")
    >>> with_runs.last_position()
    0
    >>> with_runs.close()
    """

    def __init__(
        self,
        path: str | Path,
        *,
        clock: Callable[[], datetime] = now_utc,
        busy_timeout: float = 5.0,
    ) -> None:
        self._mapper = EventMapper()
        if str(path) == MEMORY:
            self._url = f"sqlite:///{MEMORY}"
            self._datastore = ThreadDatastore(None, self._url, busy_timeout=busy_timeout)
        else:
            file = Path(os.path.abspath(path))  # noqa: PTH100  # Path.absolute keeps ".."
            self._url = f"sqlite:///{file}"
            prepare_file(file, self._url, busy_timeout)
            self._datastore = ThreadDatastore(file, self._url, busy_timeout=busy_timeout)
        self._recorder = RunRecorder(self._datastore, clock)
        try:
            self._open()
        except BaseException:
            self._datastore.close()
            raise

    @translated
    def _open(self) -> None:
        path = self._datastore.path
        if path is None:
            prepare_memory(self._datastore.link().raw, self._url)
            return
        kind = network_filesystem(os.path.realpath(path), mounts())
        if kind is not None:
            log.warning("lastword.store.network_filesystem", url=self._url, filesystem=kind)
        until = time.monotonic() + _REBUILD_PATIENCE
        while stored_projection(self._datastore) != PROJECTION_VERSION:
            ...

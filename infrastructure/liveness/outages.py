"""When the store could not be reached, as this process saw it.

No owner can renew its lease while the store is away, so that time must not count as silence. Whoever notices that it is back
writes down from when to when it was away.
"""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

from ...domain.errors import LastwordError
from ...projections.ports import RunStore
from ..forks import notice, tell_child
from ..logs import get_logger

log = get_logger("lastword.outages")


class OutageWatch:
    """Told of each contact with the store; records an outage in it once it is over.

    An outage counts from the last contact before it, but from no earlier than `window` before the first failure: a process that had
    nothing to write for hours knows nothing of these hours.
    """

    def __init__(self, store: RunStore, *, window: timedelta) -> None:
        self._store = store
        self._window = window
        self._lock = threading.Lock()
        self._last_contact: datetime | None = None
        self._away_since: datetime | None = None
        tell_child(self)

    @property
    def away_since(self) -> datetime | None:
        """From when on the store has not answered; None while it does."""
        return self._away_since

    def failed(self, tried_at: datetime) -> None:
        """A write that began at this moment did not get in."""
        notice()
        with self._lock:
            if self._away_since is not None:
                return
            since = tried_at - self._window
            if self._last_contact is not None:
                since = min(max(self._last_contact, since), tried_at)
            self._away_since = since
        log.warning("lastword.store.away", since=since.isoformat())

    def succeeded(self, now: datetime) -> None:
        """A write got in. Raises nothing: an outage that cannot be written down is tried again at the next contact."""
        self._last_contact = now  # of two threads at once, either will do
        if self._away_since is None:
            return
        try:
            self.settle(now)
        except LastwordError as error:
            log.warning("lastword.outage.not_recorded", error=str(error))

    def settle(self, now: datetime) -> None:
        """If the store was away, write down that it was, until now; before anybody is judged for having been silent.

        Raises `StoreUnavailable` while it still is.
        """
        notice()
        with self._lock:
            since, self._away_since = self._away_since, None
        if since is None:
            return
        try:
            self._store.record_outage(since, now)
        except LastwordError:
            with self._lock:
                self._away_since = min(since, self._away_since or since)
            raise
        log.warning("lastword.store.back", away_since=since.isoformat(), now=now.isoformat())

    def forget_parent(self) -> None:
        """A thread of the parent may have held the lock, and it does not exist here."""
        self._lock = threading.Lock()

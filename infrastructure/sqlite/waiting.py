"""Learning of new events: a bell for this process, and SQLite's own change counter for the others."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING

from eventsourcing.persistence import ListenNotifySubscription

from ...domain.errors import StoreUnavailable

if TYPE_CHECKING:
    from .recorder import RunRecorder

POLL_SECONDS = 0.04
"""How long an append of another process may go unnoticed. Half of it makes a follower of an idle store take 1.4 % of a core."""


def wait_for_event(recorder: RunRecorder, after: int, timeout: float) -> bool:
    """Block until there is an event behind the position or the datastore is closed; True if there is one."""
    datastore = recorder.datastore
    until = monotonic() + timeout
    changes = None
    while not datastore.closed:
        bell = datastore.bell
        rung = bell.rung
        try:
            link = datastore.link()  # the counter means something on one connection only
            seen = (rung, id(link), datastore.fetch("PRAGMA data_version")[0][0])
            if seen != changes and (recorder.max_notification_id() or 0) > after:
                return True
        except (StoreUnavailable, sqlite3.ProgrammingError):
            if datastore.closed:  # just now
                return False
            raise
        changes = seen
        left = until - monotonic()
        if left <= 0:
            return False
        bell.wait(rung, min(left, POLL_SECONDS))
    return False


class PollingSubscription(ListenNotifySubscription["RunRecorder"]):
    """The library's subscription, woken as `wait_for_event` is."""

    def __init__(
        self, recorder: RunRecorder, gt: int | None = None, topics: Sequence[str] = ()
    ) -> None:
        self._seen = gt or 0
        super().__init__(recorder, gt, topics)

    def stop(self) -> None:
        """Stop the subscription; a reader that waits gets no more."""
        super().stop()
        self._recorder.datastore.bell.ring()

    def _loop_on_pull(self) -> None:
        try:
            while not self._has_been_stopped:
                newest = self._recorder.max_notification_id() or 0
                self._pull()
                self._seen = max(self._seen, newest)
                while not self._has_been_stopped and not self._recorder.datastore.closed:
                    if wait_for_event(self._recorder, self._seen, POLL_SECONDS):
                        break
                else:
                    self.stop()
        except BaseException as error:  # noqa: BLE001  # raised again in the thread that reads
            if self._thread_error is None:
                self._thread_error = error
            self.stop()

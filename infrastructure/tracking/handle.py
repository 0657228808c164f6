"""What the work itself sees of its run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from time import monotonic
from typing import TYPE_CHECKING

from pydantic import JsonValue

from ...domain.errors import CancelledByRequest, LastwordError
from ...domain.values import RunId
from ..liveness.owners import is_left_to, this_owner
from ..logs import get_logger

if TYPE_CHECKING:
    from .tracker import RunTracker

log = get_logger("lastword.handle")

_CANCEL_POLL_SECONDS = 0.5

_current: ContextVar[RunHandle | None] = ContextVar("lastword_current_run", default=None)


def current_run() -> RunHandle | None:
    """The run that the calling code is part of; None outside of any.

    >>> current_run() is None
    True
    """
    return _current.get()


@contextmanager
def as_current(handle: RunHandle) -> Iterator[None]:
    """Inside the block, `current_run` gives this handle."""
    token = _current.set(handle)
    try:
        yield
    finally:
        with suppress(
            ValueError
        ):  # a generator may end in another context, which never knew of the run
            _current.reset(token)


def become_current(handle: RunHandle) -> None:
    """From here on `current_run` gives this handle, to the end of the context."""
    _current.set(handle)


class RunHandle:
    """The run inside ``with tracker.run(...) as run``. Nothing it does takes the work down, unless the tracker is strict."""

    def __init__(self, tracker: RunTracker, run_id: RunId) -> None:
        self._tracker = tracker
        self._run_id = run_id
        self._began_in = this_owner()
        self._result: JsonValue = None
        self._cancel_seen = False
        self._next_look = 0.0

    @property
    def run_id(self) -> RunId:
        """The run's id, in the type it was created with."""
        return self._run_id

    @property
    def result(self) -> JsonValue:
        """What was given to `set_result`."""
        return self._result

    @property
    def is_left_to_parent(self) -> bool:
        """Whether this is a forked child of the process that executes the run, so that its end here is not the run's."""
        return is_left_to(self._began_in)

    def set_result(self, result: JsonValue) -> None:
        """What the run gives back when it completes: any JSON value up to the payload limit."""
        self._result = result

    def progress(
        self,
        current: float,
        total: float | None = None,
        *,
        step: str | None = None,
        message: str | None = None,
    ) -> None:
        """Report how far the work is, in any unit. At most one report a second is stored, and always the last one."""
        with self._tolerant():
            self._tracker.progress(self._run_id, current, total, step=step, message=message)

    @property
    def cancelled(self) -> bool:
        """Whether somebody, in any process, asked the run to stop. Looks into the store at most twice a second."""
        if self._look_is_due():
            self._look()
        return self._cancel_seen

    def raise_if_cancelled(self) -> None:
        """Leave the work when somebody asked for it. Raises `CancelledByRequest`; the run is recorded as cancelled."""
        if self.cancelled:
            raise CancelledByRequest("cancellation requested")

    @contextmanager
    def _tolerant(self) -> Iterator[None]:
        try:
            yield
        except LastwordError as error:
            if self._tracker.settings.strict:
                raise
            log.warning("lastword.progress.refused", run_id=self._run_id, error=str(error))

    def _look_is_due(self) -> bool:
        """Whether to look for a request; counts as the look."""
        if self._cancel_seen or monotonic() < self._next_look:
            return False
        self._next_look = monotonic() + _CANCEL_POLL_SECONDS
        return True

    def _look(self) -> None:
        try:
            self._cancel_seen = self._tracker.get(self._run_id).cancel_requested_at is not None
        except LastwordError as error:
            log.debug("lastword.cancel.unknown", run_id=self._run_id, error=str(error))

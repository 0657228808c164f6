"""Every error that Lastword raises.

    LastwordError
    |-- InvalidInput           what was passed in cannot be recorded; nothing was written  (also a ValueError)
    |-- RunNotFound            no run has this id  (also a KeyError)
    |-- RunAlreadyExists       the id is taken by a run with other content
    |-- RunAlreadyActive       another active run holds the exclusive key
    |-- InvalidTransition      the run's status does not allow what was asked
    |-- VersionConflict        somebody else appended first; the tracker reloads and decides again
    |-- StoreUnavailable       the store did not answer or did not take it; try again later
    |-- StoreCorrupt           the store's content cannot be what Lastword wrote
    `-- UnsupportedSchema      the store, or an event, was written by a newer release

    CancelledByRequest          (a BaseException, like asyncio.CancelledError) how work leaves when it is asked to stop

Each message says which run, what was expected, what was found, and what to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # values raise errors, too
    from .values import RunId


class LastwordError(Exception):
    """Base of every error that Lastword raises."""


class InvalidInput(LastwordError, ValueError):
    """A value that cannot be recorded: wrong type, not JSON, too large, a naive time. Nothing was written."""


class RunNotFound(LastwordError, KeyError):
    """No run has this id.

    >>> str(RunNotFound(17))
    'run 17: expected to find it, but the store has no run with this id; `lastword list` shows what it has'
    """

    def __init__(self, run_id: RunId) -> None:
        self.run_id = run_id
        super().__init__(
            f"run {run_id}: expected to find it, but the store has no run with this id;"
            " `lastword list` shows what it has"
        )

    def __str__(self) -> str:  # KeyError would show the message in quotes
        return str(self.args[0])

    def __reduce__(self) -> tuple[type[RunNotFound], tuple[RunId]]:
        return type(self), (self.run_id,)


class RunAlreadyExists(LastwordError):
    """The id is taken by a run with another name or other params. Nothing was written."""

    def __init__(self, run_id: RunId, differs: str) -> None:
        self.run_id = run_id
        self.differs = differs
        super().__init__(
            f"run {run_id}: expected a new id or the same content, but it exists with {differs};"
            " choose another id, or leave run_id out to get a fresh one"
        )

    def __reduce__(self) -> tuple[type[RunAlreadyExists], tuple[RunId, str]]:
        return type(self), (self.run_id, self.differs)


class RunAlreadyActive(LastwordError):
    """Another run with the same exclusive key is still active. Nothing was written."""

    def __init__(self, run_id: RunId, exclusive: str, active_run_id: RunId) -> None:
        self.run_id = run_id
        self.exclusive = exclusive
        self.active_run_id = active_run_id
        super().__init__(
            f"run {run_id}: expected no active run with the exclusive key {exclusive!r}, but run {active_run_id}"
            f" holds it; wait for its end, or `lastword cancel {active_run_id}`"
        )

    def __reduce__(self) -> tuple[type[RunAlreadyActive], tuple[RunId, str, RunId]]:
        return type(self), (self.run_id, self.exclusive, self.active_run_id)


class InvalidTransition(LastwordError):
    """The run's status does not allow what was asked. Nothing was written."""

    def __init__(self, run_id: RunId, from_status: str, to_status: str, remedy: str) -> None:
        self.run_id = run_id
        self.from_status = from_status
        self.to_status = to_status
        self.remedy = remedy
        super().__init__(f"run {run_id}: cannot go from {from_status} to {to_status}; {remedy}")

    def __reduce__(self) -> tuple[type[InvalidTransition], tuple[RunId, str, str, str]]:
        return type(self), (self.run_id, self.from_status, self.to_status, self.remedy)


class VersionConflict(LastwordError):
    """Somebody else appended to the run first. Nothing was written."""

    def __init__(self, run_id: RunId, expected: int, found: int | None = None) -> None:
        self.run_id = run_id
        self.expected = expected
        self.found = found
        seen = "another" if found is None else f"version {found}"
        super().__init__(
            f"run {run_id}: expected version {expected}, found {seen}; somebody else wrote first: read it again"
        )

    def __reduce__(self) -> tuple[type[VersionConflict], tuple[RunId, int, int | None]]:
        return type(self), (self.run_id, self.expected, self.found)


class StoreUnavailable(LastwordError):
    """The store did not answer or did not take it: locked, full, read-only, gone. Safe to try again.

    The driver's error is kept as ``__cause__``.
    """

    retryable = True

    def __init__(self, message: str, *, transient: bool = True) -> None:
        self.transient = transient
        """True when waiting a moment may help (locked, busy, connection lost); False for a read-only file."""
        super().__init__(message)


class StoreCorrupt(LastwordError):
    """The store's content cannot be what Lastword wrote, or the file is not a store at all."""


class UnsupportedSchema(LastwordError):
    """Written by a newer release than this one."""

    def __init__(self, what: str, found: int, supported: int) -> None:
        self.what = what
        self.found = found
        self.supported = supported
        super().__init__(
            f"{what}: expected schema version {supported} or older, found {found}, written by a newer release;"
            " upgrade lastword here"
        )

    def __reduce__(self) -> tuple[type[UnsupportedSchema], tuple[str, int, int]]:
        return type(self), (self.what, self.found, self.supported)


class CancelledByRequest(BaseException):
    """Raised inside the work by `raise_if_cancelled()`; the run is recorded as cancelled.

    A BaseException, so that an ``except Exception`` in the work does not swallow the request.
    """

"""The words for where a run stands."""

from enum import StrEnum


class RunStatus(StrEnum):
    """Where a run stands. Derived from its events, never set by anybody."""

    PENDING = "pending"
    """Created; nobody has begun the work."""
    RUNNING = "running"
    """An owner has begun the work and has not reported an outcome."""
    COMPLETED = "completed"
    """The work ended and reported success."""
    FAILED = "failed"
    """The work reported an error, or the tracker gave the run up as lost."""
    CANCELLED = "cancelled"
    """The work stopped because somebody asked for it."""

    @property
    def is_terminal(self) -> bool:
        """True when the run has had its last word.

        >>> RunStatus.FAILED.is_terminal, RunStatus.RUNNING.is_terminal
        (True, False)
        """
        return self not in ACTIVE


ACTIVE = frozenset({RunStatus.PENDING, RunStatus.RUNNING})
"""The statuses of a run that has had no last word yet."""


class FlagReason(StrEnum):
    """Why an active run looks as if it will never reach a terminal event."""

    OWNER_GONE = "owner_gone"
    """The owning process does not exist any more on this host (checked by pid, start time and boot id)."""
    SILENT = "silent"
    """The owner has not renewed its lease in time: crashed on another host, cut off, or frozen."""
    OVERDUE = "overdue"
    """The run is past the deadline it was created with."""
    NEVER_STARTED = "never_started"
    """The run has been pending longer than the start timeout."""

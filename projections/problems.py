"""What can be wrong with a store, and what to do about it."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from ..domain.values import RunId


class ProblemKind(StrEnum):
    """What sort of thing is wrong; the words are stable, so that a monitor can rely on them."""

    ROW = "row"
    """A run's row is not what its events say, is missing, or cannot be read."""
    GAP = "gap"
    """An event of a history is missing."""
    ORDER = "order"
    """Positions or times go back where they can only grow."""
    UNDECODABLE = "undecodable"
    """An event cannot be read."""
    NEWER = "newer"
    """An event was written by a newer release, or is of a type that this one does not know."""
    COUNTER = "counter"
    """The number of runs of a status is wrong."""
    TAG = "tag"
    """A run is not found by one of its tags, or is found by a tag that it does not have."""
    LEASE = "lease"
    """The lease of an owner cannot be read, or lies in the future."""
    OWNER = "owner"
    """The record of an owning process cannot be read."""
    OUTAGE = "outage"
    """A time for which the store is said to have been away cannot be."""
    SPOOL = "spool"
    """Events lie in the spool, and nobody is on the way to deliver them."""
    SEAL = "seal"
    """The log is not what it was when it was sealed."""


class Problem(BaseModel):
    """One thing that is not as it must be.

    >>> str(Problem(kind=ProblemKind.ROW, run_id=17, what="row: expected one, found none", remedy="rebuild"))
    'run 17: row: expected one, found none; rebuild'
    """

    model_config = ConfigDict(frozen=True, defer_build=True)

    kind: ProblemKind
    run_id: RunId | None = None
    """The run that it belongs to; None for the store as a whole."""
    position: int | None = None
    """The place in the log, where there is one."""
    what: str
    """Where it is, what was expected and what was found."""
    remedy: str

    def __str__(self) -> str:
        run = "" if self.run_id is None else f"run {self.run_id}: "
        return f"{run}{self.what}; {self.remedy}"


REBUILD = "`lastword rebuild` computes the rows anew from the events"
RESTORE = "the events themselves are damaged: restore them from a backup"
UPGRADE = "upgrade lastword here; until then nothing can be said about this run"

REMEDIES = {
    ProblemKind.ROW: REBUILD,
    ProblemKind.GAP: RESTORE,
    ProblemKind.ORDER: RESTORE,
    ProblemKind.UNDECODABLE: RESTORE,
    ProblemKind.NEWER: UPGRADE,
    ProblemKind.COUNTER: REBUILD,
    ProblemKind.TAG: REBUILD,
}
"""What to do, where the kind alone says it."""


def problem(
    kind: ProblemKind, what: str, *, run_id: RunId | None = None, position: int | None = None
) -> Problem:
    """A problem with the remedy of its kind.

    >>> problem(ProblemKind.COUNTER, "counters: expected 1 failed run, found 2").remedy == REBUILD
    True
    """
    return Problem(kind=kind, run_id=run_id, position=position, what=what, remedy=REMEDIES[kind])

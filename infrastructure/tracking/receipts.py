"""What became of a command, and where events wait that the store did not take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ...domain.errors import LastwordError
from ...domain.events import RunEvent
from ...domain.status import RunStatus
from ...domain.values import RunId
from ...projections.ports import NewEvent
from ...projections.run_view import RunView


class Receipt(NamedTuple):
    """What became of a command."""

    run_id: RunId
    status: RunStatus
    """The run's status once everything that was decided is stored."""
    events: tuple[RunEvent, ...]
    """What happened; empty for a harmless repeat."""
    stored: bool
    """True when the store holds it. False: it is kept, and goes in front of the run's next append."""
    error: LastwordError | None = None
    """Why it is not stored."""
    kept: bool = False
    """True when what is not stored is safe on this machine's disk, so that it will be delivered even if this process dies."""
    view: RunView | None = None
    """The run as the store has it after this append; None when nothing was appended."""


class Keeper(Protocol):
    """Where events wait that the store did not take."""

    def keep(self, run_id: RunId, events: Sequence[NewEvent]) -> bool:
        """Take the events in, in order; True when they are safe from the death of this process."""
        ...

    def delivered(self, event_ids: Sequence[str]) -> None:
        """These need not be kept any longer: the store has committed them, or they say nothing new."""
        ...

    def set_aside(self, run_id: RunId, events: Sequence[NewEvent]) -> bool:
        """These can never be stored; True when they are safe where people can look at them."""
        ...

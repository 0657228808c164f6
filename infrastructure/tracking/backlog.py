"""What has not got into the store yet: this process's own unsent events, and what ended processes left in the spool."""

from __future__ import annotations

from ...domain.errors import LastwordError
from ..logs import get_logger
from ..spooling.spool import Spool, SpoolStatus
from ..telemetry.metrics import SPOOL_DELIVERED, count
from .journal import Journal

log = get_logger("lastword.backlog")


class Backlog:
    """Brings it in. Without a spool (a store in memory) there is only what is unsent."""

    def __init__(self, journal: Journal, spool: Spool | None) -> None:
        self._journal = journal
        self._spool = spool
        self.delivered = 0
        """Events that got in later than they happened, through this object."""

    @property
    def is_waiting(self) -> bool:
        """Whether this process has something unsent."""
        return bool(self._journal.unsent())

    def deliver(self) -> int:
        """Bring in what can be; how many events that were. Raises `StoreUnavailable`; nothing is lost then."""
        sent = self._journal.send_unsent()
        if self._spool is not None:
            sent += self._spool.deliver_abandoned(self._journal.adopt)
        self.delivered += sent
        if sent:
            count(SPOOL_DELIVERED, sent)
        return sent

    def deliver_quietly(self) -> None:
        """The same, for moments at which nobody waits for it."""
        try:
            self.deliver()
        except LastwordError as error:
            log.warning("lastword.spool.still_waiting", error=str(error))

    def status(self) -> SpoolStatus:
        """What waits in the spool, of all processes on this machine."""
        return SpoolStatus() if self._spool is None else self._spool.pending()

    def close(self) -> None:
        """Let go of the spool; what is still unsent stays there for the next one who looks."""
        if unsent := self._journal.unsent():
            spool = None if self._spool is None else str(self._spool.folder)
            log.critical("lastword.close.unsent", run_ids=unsent, spool=spool)
        if self._spool is not None:
            self._spool.close()

"""Flags for views as they are read: each owner is looked up once a question, outages only when somebody seems silent."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeAlias

from ...domain.status import FlagReason
from ...domain.values import Owner
from ...projections.flags import Liveness, Suspicion, flag_of
from ...projections.run_view import RunView, view_from
from ..liveness.owners import owner_alive

Outages: TypeAlias = tuple[tuple[datetime, datetime], ...]


class Flagger:
    """Puts the flag that it deserves at one moment into a view; made for one question.

    `outages` gives those that are known; it is called once, if at all.
    """

    def __init__(
        self,
        now: datetime,
        start_timeout: timedelta | None,
        outages: Callable[[], Outages],
    ) -> None:
        self._now = now
        self._start_timeout = start_timeout
        self._outages = outages
        self._known: Outages | None = None
        self._ownerless = Liveness(None, start_timeout)
        self._owners: dict[int, tuple[Owner, Liveness]] = {}
        # By identity: runs of one process share the object, and to compare owners field by field costs more than all else here.

    @property
    def suspicion(self) -> Suspicion:
        """What a store has to know to leave out views that would get no flag."""
        return Suspicion(self._now, self._gone, self._start_timeout)

    def __call__(self, view: RunView) -> RunView:
        """The view as read from the store, with its flag."""
        if view.status.is_terminal:
            return view
        liveness = self._liveness(view.owner)
        flag = flag_of(view, self._now, liveness)
        if flag is None:
            return view
        if flag.reason is FlagReason.SILENT:
            if self._known is None:
                self._known = self._outages()
            if self._known:
                liveness = Liveness(liveness.owner_alive, self._start_timeout, self._known)
                flag = flag_of(view, self._now, liveness)
        return view if flag is None else view_from({**view.__dict__, "flag": flag})

    def _gone(self, owner: Owner) -> bool:
        return self._liveness(owner).owner_alive is False

    def _liveness(self, owner: Owner | None) -> Liveness:
        if owner is None:
            return self._ownerless
        known = self._owners.get(id(owner))
        if known is None:
            liveness = Liveness(owner_alive(owner), self._start_timeout)
            known = self._owners[id(owner)] = owner, liveness
        return known[1]

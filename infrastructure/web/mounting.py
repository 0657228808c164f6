"""The API as a part of somebody else's application."""

from __future__ import annotations

from fastapi import APIRouter

from ..tracking.tracker import RunTracker
from .api.routes import api_router
from .desk import Desk


def router(tracker: RunTracker) -> APIRouter:
    """The API's routes over this tracker, for ``app.include_router(router(tracker), prefix="/lastword")``.

    Who may ask, from where, and how much they may send is for the application to decide: see docs/security.md.

    >>> from lastword.infrastructure.web.mounting import router
    >>> tracker = RunTracker("sqlite:///:memory:")
    >>> "/api/runs" in [route.path for route in router(tracker).routes]
    True
    >>> tracker.close()
    """
    return api_router(Desk(tracker))

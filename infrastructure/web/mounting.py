"""The API, and the pages, as a part of somebody else's application."""

from __future__ import annotations

from fastapi import APIRouter

from ..managing.asynchronous import AsyncRunManager
from ..managing.manager import RunManager
from ..tracking.tracker import RunTracker
from .api.routes import api_router
from .desk import Desk
from .pages.routes import pages_router
from .streaming.response import STREAMS_PER_CLIENT


def router(
    tracker: RunTracker,
    *,
    manager: RunManager | AsyncRunManager | None = None,
    pages: bool = False,
    streams_per_client: int = STREAMS_PER_CLIENT,
) -> APIRouter:
    """The API's routes over this tracker, for ``app.include_router(router(tracker), prefix="/lastword")``.

    Give it the `manager` that executes runs in this process: their streams then carry what they say while they work, and the truth when the
    store did not take an outcome. With `pages` the web page is there, too: at the prefix and below it.

    Who may ask, from where, and how much they may send is for the application to decide: see docs/security.md.

    >>> from lastword.infrastructure.web.mounting import router
    >>> tracker = RunTracker("sqlite:///:memory:")
    >>> "/api/runs" in [route.path for route in router(tracker).routes]
    True
    >>> tracker.close()
    """
    desk = Desk(tracker, manager=manager, streams_per_client=streams_per_client)
    routes = api_router(desk)
    if pages:
        routes.include_router(pages_router(desk))
    return routes

"""The router: every route of the API over one desk."""

from __future__ import annotations

from fastapi import APIRouter

from ..desk import Desk
from ..routing import Route
from . import commands, feed, health, metrics, runs, streams


def api_router(desk: Desk) -> APIRouter:
    """All routes of the API, to be included in an application at any prefix."""
    # Operations are called like their functions: what generated clients call theirs.
    router = APIRouter(route_class=Route, generate_unique_id_function=lambda route: route.name)
    for part in (runs, commands, streams, feed, health, metrics):
        part.add_to(router, desk)
    return router

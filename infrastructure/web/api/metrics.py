"""The page that Prometheus scrapes."""

from __future__ import annotations

from fastapi import APIRouter, Response

from ...telemetry.prometheus import CONTENT_TYPE, metrics_page
from ..desk import Desk
from ..routing import errors

_EXAMPLE = """# HELP lastword_runs Runs in the store, by status
# TYPE lastword_runs gauge
lastword_runs{status="running"} 3.0
"""


def add_to(router: APIRouter, desk: Desk) -> None:
    """Register the route."""

    @router.get(
        "/metrics",
        response_class=Response,
        responses={
            200: {
                "description": "Figures in the text format of Prometheus.",
                "content": {"text/plain": {"schema": {"type": "string"}, "example": _EXAMPLE}},
            },
            **errors(),
        },
        tags=["operations"],
    )
    async def metrics() -> Response:
        """What the store says now, and what this process has counted. `lastword_store_up` is 0 when the store does not answer."""
        page = await desk.look(metrics_page, desk.tracker)
        return Response(page, headers={"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"})

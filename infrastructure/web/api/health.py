"""Whether this server can do its work."""

from __future__ import annotations

import asyncio
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from ....domain.errors import LastwordError
from ..desk import Desk
from ..problems import Refusal
from ..routing import errors
from .answers import fresh

_PATIENCE_SECONDS = 5.0


class Health(BaseModel):
    """The store answers."""

    status: Literal["ok"]
    spool_pending: int = Field(
        description="Events that the store did not take and that wait on this machine; 0 when all is well."
    )
    spool_set_aside: int = Field(description="Spool files that somebody should look at.")


def add_to(router: APIRouter, desk: Desk) -> None:
    """Register the route."""

    @router.get(
        "/healthz",
        response_model=Health,
        responses={200: {"description": "The store answers."}, **errors(503)},
        tags=["operations"],
    )
    async def health() -> Response:
        """200 when the store answers, else 503; needs no token. Events that wait for the store do not make it 503: see `spool_pending`."""
        pending = 0
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                spool = await desk.look(desk.tracker.spool_status)
                pending = spool.events
                await desk.look(desk.tracker.store.last_position)
        except (LastwordError, TimeoutError) as error:
            why = str(error) or f"the store did not answer within {_PATIENCE_SECONDS:.0f} s"
            raise Refusal(
                503,
                "store-unavailable",
                why,
                {"Retry-After": "2"},
                retryable=True,
                spool_pending=pending,
            ) from error
        told = Health(status="ok", spool_pending=pending, spool_set_aside=spool.set_aside)
        return fresh(told.model_dump_json())

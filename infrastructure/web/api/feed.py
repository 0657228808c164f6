"""The completion feed as pages: every last word in the order of the store."""

from __future__ import annotations

import json
from itertools import islice
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from ....domain.values import RunId
from ....projections.queries import MAX_PAGE
from ...tracking.reading import RunReader
from ..desk import Desk
from ..routing import errors
from .answers import fresh
from .links import next_link

MAX_POSITION = 2**63 - 1
Position = Annotated[int, Field(ge=0, le=MAX_POSITION)]
After = Annotated[
    Position | Literal["latest"],
    Field(
        description="Only what stands behind this position; `latest`: only what comes from now on.",
        examples=[0],
    ),
]


class FeedQuery(BaseModel):
    """Where to go on."""

    model_config = ConfigDict(extra="forbid")

    after: After = 0
    limit: int = Field(default=500, ge=1, le=MAX_PAGE, description="At most so many.")


class Completion(BaseModel):
    """A completion signal, and where it stands."""

    run_id: RunId
    complete: Literal[True]
    db_status: str = Field(description="What the store holds: completed, failed or cancelled.")
    status_update_failed: Literal[True] | None = Field(
        default=None, description="There, and true, when the run was declared lost; else absent."
    )
    position: int


class CompletionPage(BaseModel):
    """Some completions, oldest first."""

    items: list[Completion]
    next_after: int = Field(description="Keep it, and pass it as `after` to go on from here.")


def add_to(router: APIRouter, desk: Desk) -> None:
    """Register the route."""
    tracker = desk.tracker

    @router.get(
        "/api/completions",
        response_model=CompletionPage,
        responses={
            200: {
                "description": "In store order, at least once. `Link` has the next page while there is more.",
                "content": {
                    "application/json": {
                        "example": {
                            "items": [
                                {
                                    "run_id": 17,
                                    "complete": True,
                                    "db_status": "completed",
                                    "position": 43,
                                }
                            ],
                            "next_after": 43,
                        }
                    }
                },
                "headers": {"Link": {"schema": {"type": "string"}}},
            },
            **errors(),
        },
        tags=["completions"],
    )
    async def completions(request: Request, query: Annotated[FeedQuery, Query()]) -> Response:
        """Every last word behind a position. A run that was declared lost and reported later stands here twice."""
        items, after, more = await desk.ask(_page, tracker, query.after, query.limit)
        body = json.dumps({"items": items, "next_after": after}, ensure_ascii=False)
        link = next_link(request, after=after) if more else {}
        return fresh(body, link)


def _page(
    reader: RunReader, after: int | Literal["latest"], limit: int
) -> tuple[list[dict[str, object]], int, bool]:
    if after == "latest":
        return [], reader.store.last_position(), False
    found = [*islice(reader.completions(after), limit + 1)]
    items = [{**signal, "position": position} for position, signal in found[:limit]]
    return items, found[len(items) - 1][0] if items else after, len(found) > limit

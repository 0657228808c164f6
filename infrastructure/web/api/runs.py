"""Questions about runs: the list, one run, its history, flags, counts."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from ....domain.errors import InvalidInput
from ....domain.status import RunStatus
from ....projections.queries import MAX_PAGE
from ....projections.run_view import RunView
from ..desk import Desk
from ..routing import errors
from .answers import RunPage, RunPath, fresh, validated
from .examples import EVENT, RUN
from .links import next_link


class ListQuery(BaseModel):
    """The filters of a list; all of them must hold."""

    model_config = ConfigDict(extra="forbid")

    status: list[RunStatus] = Field(
        default=[], description="One or several: `?status=failed&status=cancelled`."
    )
    name: str | None = Field(default=None, description="Runs of this name.")
    flagged: bool | None = Field(
        default=None, description="Only runs that have a flag now, or that have none."
    )
    tag: list[Annotated[str, Field(pattern=r"^[^:]+:")]] = Field(
        default=[], description="`key:value`; all of them must match.", examples=[["team:data"]]
    )
    since: datetime | None = Field(
        default=None,
        description="Created at or after; with a time zone.",
        examples=["2026-02-05T22:00:00Z"],
    )
    until: datetime | None = Field(default=None, description="Created before; with a time zone.")
    limit: int = Field(default=50, ge=1, le=MAX_PAGE, description="At most so many.")
    cursor: str | None = Field(default=None, description="Go on where an earlier page ended.")


class RunCounts(BaseModel):
    """How many runs have each status."""

    pending: int
    running: int
    completed: int
    failed: int
    cancelled: int


def add_to(router: APIRouter, desk: Desk) -> None:
    """Register the routes."""
    tracker = desk.tracker

    @router.get(
        "/api/runs",
        response_model=RunPage,
        responses={
            200: {
                "description": "A page of runs, newest first. `Link` has the address of the next one.",
                "content": {"application/json": {"example": {"items": [RUN], "next_cursor": None}}},
                "headers": {
                    "ETag": {"schema": {"type": "string"}},
                    "Link": {"schema": {"type": "string"}},
                },
            },
            304: {"description": "As it was when you got the `ETag`."},
            **errors(),
        },
        tags=["runs"],
    )
    async def list_runs(request: Request, query: Annotated[ListQuery, Query()]) -> Response:
        """List runs, newest first."""
        page = await desk.ask(
            tracker.list,
            status=query.status or None,
            name=query.name,
            flagged=query.flagged,
            tags=_pairs(query.tag),
            since=query.since,
            until=query.until,
            limit=query.limit,
            cursor=query.cursor,
        )
        items = ",".join(view.model_dump_json() for view in page)
        body = f'{{"items":[{items}],"next_cursor":{json.dumps(page.next_cursor)}}}'
        return validated(request, body, next_link(request, cursor=page.next_cursor))

    @router.get(
        "/api/runs/{run_id}",
        response_model=RunView,
        responses={
            200: {
                "description": "The run as the store has it now, with its flag.",
                "content": {"application/json": {"example": RUN}},
                "headers": {"ETag": {"schema": {"type": "string"}}},
            },
            304: {"description": "As it was when you got the `ETag`."},
            **errors(404),
        },
        tags=["runs"],
    )
    async def get_run(request: Request, run_id: RunPath) -> Response:
        """One run."""
        view = await desk.ask(tracker.get, run_id)
        return validated(request, view.model_dump_json())

    @router.get(
        "/api/runs/{run_id}/events",
        response_model=list[RecordedEventModel],
        responses={
            200: {
                "description": "Everything that happened to the run, in order.",
                "content": {"application/json": {"example": [EVENT]}},
            },
            **errors(404),
        },
        tags=["runs"],
    )
    async def run_events(run_id: RunPath) -> Response:
        """The history of one run."""
        recorded = await desk.ask(tracker.history, run_id)
        return fresh(json.dumps([item.as_json() for item in recorded], ensure_ascii=False))

    @router.get(
        "/api/flagged",
        response_model=list[RunView],
        responses={200: {"description": "Oldest first, each with its `flag`."}, **errors()},
        tags=["runs"],
    )
    async def flagged() -> Response:
        """The active runs that look as if they will never end."""
        views = await desk.ask(tracker.flagged)
        return fresh(f"[{','.join(view.model_dump_json() for view in views)}]")

    @router.get(
        "/api/counts",
        response_model=RunCounts,
        responses={200: {"description": "Every status has a number."}, **errors()},
        tags=["runs"],
    )
    async def counts() -> Response:
        """How many runs have each status."""
        return fresh(json.dumps(await desk.ask(tracker.counts)))


class RecordedEventModel(BaseModel):
    """An event with its envelope, as `lastword history --json` prints it."""

    run_id: int | str
    version: int = Field(description="Its number in the run's history: 1, 2, 3, ...")
    position: int = Field(description="Its number in the order of the whole store.")
    event_id: str = Field(description="Unique over all stores; 32 hexadecimal digits.")
    type: str = Field(description="The event's name, e.g. `RunCompleted`.")
    schema_version: int
    event: dict[str, Any] = Field(description="The facts; see the reference of events.")
    occurred_at: datetime
    recorded_at: datetime
    actor: str | None
    correlation_id: str | None


def _pairs(given: list[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in given:
        key, _, value = text.partition(":")
        if pairs.get(key, value) != value:
            raise InvalidInput(
                f"tag {key!r:.60}: expected it once, found two values; a run has one value per tag"
            )
        pairs[key] = value
    return pairs

"""Commands: what can be asked of a run, and what workers in any language report."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import quote

import uuid_utils
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from ....domain.commands import CreateRun, FailRun
from ....domain.errors import InvalidInput, InvalidTransition
from ....domain.redaction import sanitise, sanitise_traceback
from ....domain.status import RunStatus
from ....domain.values import ErrorInfo, RunId
from ....projections.run_view import RunView
from ...managing.endings import Claim
from ...tracking.receipts import Receipt
from ...tracking.tracker import RunTracker
from ..desk import Desk
from ..problems import Refusal
from ..routing import errors
from .answers import NO_STORE, RunPath
from .bodies import CancelBody, CompleteBody, CreateBody, FailBody, Nothing, ProgressBody, StartBody
from .owners import beats_over_http, is_repeat, remote_owner


class CommandAnswer(BaseModel):
    """What became of a command."""

    run_id: RunId
    status: RunStatus = Field(description="The run's status once everything is stored.")
    stored: bool = Field(
        description="True: the store holds it. False (202): it is kept by this server and stored a little later."
    )
    events: list[str] = Field(description="What happened; empty for a harmless repeat.")
    cancel_requested: bool | None = Field(
        description="Whether somebody wants the run to stop; null when the store could not be asked."
    )


class Beat(BaseModel):
    """What a heartbeat is answered with."""

    run_id: RunId
    status: RunStatus
    lease_seconds: float = Field(description="The next heartbeat must come before that.")
    cancel_requested: bool = Field(description="Whether somebody wants the run to stop.")


_DONE = {
    "run_id": 17,
    "status": "running",
    "stored": True,
    "events": ["RunStarted"],
    "cancel_requested": False,
}


def _responses(code: int, *more: int, **changes: Any) -> dict[int | str, dict[str, Any]]:
    told = {**_DONE, **changes}
    return {
        code: {
            "description": "The store holds it.",
            "model": CommandAnswer,
            "content": {"application/json": {"example": told}},
        },
        202: {
            "description": "Taken, and not in the store yet: the store is away, or progress comes faster than it is stored.",
            "model": CommandAnswer,
            "content": {"application/json": {"example": {**told, "stored": False}}},
        },
        **errors(400, 409, 413, 415, *more),
    }


def add_to(router: APIRouter, desk: Desk) -> None:
    """Register the routes."""
    tracker = desk.tracker

    @router.post(
        "/api/runs",
        status_code=201,
        response_model=CommandAnswer,
        responses={
            **_responses(201, status="pending", events=["RunCreated"]),
            200: {
                "description": "It existed with this name and these params; nothing was written.",
                "model": CommandAnswer,
            },
        },
        tags=["commands"],
    )
    async def create_run(request: Request, body: CreateBody) -> Response:
        """Make a run exist. It is pending until somebody starts it."""
        receipt = await desk.tell(_create, tracker, body)
        place = f"{request.url.path}/{quote(str(receipt.run_id), safe='')}"
        status = 201 if receipt.events else 200
        return await _answer(desk, receipt, status, {"Location": place})

    @router.post(
        "/api/runs/{run_id}/start",
        response_model=CommandAnswer,
        responses=_responses(200, 404),
        tags=["commands"],
    )
    async def start_run(
        request: Request, run_id: RunPath, body: StartBody | None = None
    ) -> Response:
        """The work begins. From now on the run needs a heartbeat in each lease, until its last word."""
        client = request.client.host if request.client else "unknown"
        receipt = await desk.tell(_start, tracker, run_id, body or StartBody(), client)
        return await _answer(desk, receipt)

    @router.post(
        "/api/runs/{run_id}/progress",
        response_model=CommandAnswer,
        responses=_responses(200, 404, events=["RunProgressed"]),
        tags=["commands"],
    )
    async def report_progress(run_id: RunPath, body: ProgressBody) -> Response:
        """Report how far the work is. One report a second is stored, and always the last one."""
        receipt = await desk.tell(_progress, tracker, run_id, body)
        return await _answer(desk, receipt)

    @router.post(
        "/api/runs/{run_id}/complete",
        response_model=CommandAnswer,
        responses=_responses(200, 404, status="completed", events=["RunCompleted"]),
        tags=["commands"],
    )
    async def complete_run(run_id: RunPath, body: CompleteBody | None = None) -> Response:
        """The last word: the work succeeded."""
        receipt = await desk.tell(
            tracker.complete, run_id, result=None if body is None else body.result
        )
        return await _answer(desk, receipt)

    @router.post(
        "/api/runs/{run_id}/fail",
        response_model=CommandAnswer,
        responses=_responses(200, 404, status="failed", events=["RunFailed"]),
        tags=["commands"],
    )
    async def fail_run(run_id: RunPath, body: FailBody) -> Response:
        """The last word: the work ended with an error."""
        receipt = await desk.tell(_fail, tracker, run_id, body)
        return await _answer(desk, receipt)

    @router.post(
        "/api/runs/{run_id}/cancel",
        response_model=CommandAnswer,
        responses=_responses(200, 404, events=["CancellationRequested"], cancel_requested=True),
        tags=["commands"],
    )
    async def cancel_run(run_id: RunPath, body: CancelBody | None = None) -> Response:
        """Ask the work to stop; a pending run is cancelled at once. With `stopped`, the worker's last word that it has stopped."""
        body = body or CancelBody()
        ask = tracker.cancel if body.stopped else tracker.request_cancel
        receipt = await desk.tell(ask, run_id, reason=body.reason, actor=body.actor)
        return await _answer(desk, receipt)

    @router.post(
        "/api/runs/{run_id}/heartbeat",
        response_model=Beat,
        responses={
            200: {
                "description": "The lease is renewed.",
                "content": {
                    "application/json": {
                        "example": {
                            "run_id": 17,
                            "status": "running",
                            "lease_seconds": 60.0,
                            "cancel_requested": False,
                        }
                    }
                },
            },
            **errors(400, 404, 409, 413, 415),
        },
        tags=["commands"],
    )
    async def heartbeat(run_id: RunPath, body: Nothing | None = None) -> Response:
        """The worker lives: renew its lease. The answer says whether it should stop."""
        view = await desk.tell(_beat, tracker, run_id)
        beat = Beat(
            run_id=view.run_id,
            status=view.status,
            lease_seconds=view.lease_seconds,
            cancel_requested=view.cancel_requested_at is not None,
        )
        return Response(beat.model_dump_json(), 200, NO_STORE, "application/json")


async def _answer(
    desk: Desk, receipt: Receipt, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    if receipt.error is not None and receipt.status.is_terminal:
        last_known = desk.tracker.last_known(receipt.run_id)
        desk.hub.not_stored(Claim(receipt.run_id, receipt.status, str(receipt.error), last_known))
    if receipt.error is not None and not receipt.kept:
        raise receipt.error  # it is safe nowhere: the client must send it again
    view = receipt.view
    if view is None and receipt.stored:
        view = await desk.ask(desk.tracker.store.view, receipt.run_id)
    told = CommandAnswer(
        run_id=receipt.run_id,
        status=receipt.status,
        stored=receipt.stored,
        events=[event.TOPIC for event in receipt.events],
        cancel_requested=None if view is None else view.cancel_requested_at is not None,
    )
    return Response(
        told.model_dump_json(),
        status if receipt.stored else 202,
        {**NO_STORE, **(headers or {})},
        "application/json",
    )


def _create(tracker: RunTracker, body: CreateBody) -> Receipt:
    now = tracker.clock()
    try:
        deadline = (
            None
            if body.deadline_seconds is None
            else now + timedelta(seconds=body.deadline_seconds)
        )
    except OverflowError:
        raise InvalidInput(
            f"deadline_seconds: expected a moment before the year 10000, found {body.deadline_seconds!r:.60}"
        ) from None
    command = CreateRun(
        name=body.name,
        params=body.params,
        tags=body.tags,
        actor=body.actor,
        correlation_id=body.correlation_id,
        parent_id=body.parent_id,
        attempt=body.attempt,
        retry_of=body.retry_of,
        exclusive=body.exclusive,
        deadline_at=deadline,
        lease_seconds=tracker.settings.lease if body.lease_seconds is None else body.lease_seconds,
        payload_limit=tracker.settings.payload_limit,
        now=now,
    )
    return tracker.execute(str(uuid_utils.uuid7()) if body.run_id is None else body.run_id, command)


def _start(tracker: RunTracker, run_id: str, body: StartBody, client: str) -> Receipt:
    owner = remote_owner(body.owner, client, run_id, tracker.clock())
    try:
        return tracker.start(run_id, owner=owner)
    except InvalidTransition:
        view = tracker.get(run_id)
        if is_repeat(view, body.owner, owner):
            return Receipt(view.run_id, view.status, (), stored=True, view=view)
        raise


def _progress(tracker: RunTracker, run_id: str, body: ProgressBody) -> Receipt:
    receipt = tracker.progress(
        run_id, body.current, body.total, step=body.step, message=body.message
    )
    if receipt is not None:
        return receipt
    # Held for a moment, without a look at the run: whether there is one that takes progress must still be said.
    view = tracker.get(run_id)
    if view.status is not RunStatus.RUNNING:
        raise InvalidTransition(
            view.run_id, view.status, RunStatus.RUNNING, "only a running run reports progress"
        )
    return Receipt(view.run_id, view.status, (), stored=False, kept=True, view=view)


def _fail(tracker: RunTracker, run_id: str, body: FailBody) -> Receipt:
    error = ErrorInfo(
        type=sanitise(body.type, 200) or "Error",
        message=sanitise(body.message),
        traceback=None if body.traceback is None else sanitise_traceback(body.traceback),
    )
    command = FailRun(
        error=error, exit_code=body.exit_code, signal=body.signal, now=tracker.clock()
    )
    return tracker.finish(run_id, command)


def _beat(tracker: RunTracker, run_id: str) -> RunView:
    view = tracker.get(run_id)
    if view.status is not RunStatus.RUNNING or view.owner is None:
        raise InvalidTransition(
            view.run_id, view.status, RunStatus.RUNNING, "only a running run has a lease to renew"
        )
    if not beats_over_http(view.owner):
        raise Refusal(
            409,
            "not-the-owner",
            f"run {view.run_id}: expected a run that was started over HTTP, found pid {view.owner.pid} on {view.owner.host},"
            " which renews its lease by itself",
            run_id=view.run_id,
        )
    tracker.store.renew_lease(view.owner, tracker.clock())
    return view

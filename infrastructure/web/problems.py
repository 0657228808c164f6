"""Errors as RFC 9457 problem documents: which status and which stable type each error has."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Literal

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ...domain.errors import (
    InvalidInput,
    InvalidTransition,
    LastwordError,
    RunAlreadyActive,
    RunAlreadyExists,
    RunNotFound,
    StoreCorrupt,
    StoreUnavailable,
    UnsupportedSchema,
    VersionConflict,
)
from ...domain.redaction import sanitise
from ...domain.values import RunId
from ..logs import get_logger

log = get_logger("lastword.web")

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 2
"""How long a client should wait before it asks a store again that was away."""
_MAX_FAULTS = 20

ProblemType = Literal[
    "about:blank",
    "urn:lastword:problem:invalid-input",
    "urn:lastword:problem:run-not-found",
    "urn:lastword:problem:run-already-exists",
    "urn:lastword:problem:run-already-active",
    "urn:lastword:problem:invalid-transition",
    "urn:lastword:problem:version-conflict",
    "urn:lastword:problem:not-the-owner",
    "urn:lastword:problem:store-unavailable",
    "urn:lastword:problem:store-corrupt",
    "urn:lastword:problem:unsupported-schema",
    "urn:lastword:problem:unsupported-media-type",
    "urn:lastword:problem:body-too-large",
    "urn:lastword:problem:token-required",
    "urn:lastword:problem:unknown-host",
    "urn:lastword:problem:other-origin",
    "urn:lastword:problem:too-many-streams",
    "urn:lastword:problem:internal",
]
"""Stable names; ``about:blank`` says no more than the status does."""


class Fault(BaseModel):
    """One thing that is wrong with what was sent."""

    where: str
    """The place, e.g. ``query.limit`` or ``body.tags``."""
    message: str


class LastwordProblem(BaseModel):
    """What went wrong, as RFC 9457 describes it. Members that do not apply are absent."""

    model_config = ConfigDict(extra="forbid")

    type: ProblemType
    title: str = Field(description="The kind of problem in a few words.")
    status: int = Field(description="The HTTP status, once more.")
    detail: str = Field(description="Which run, what was expected, what was found, what to do.")
    run_id: RunId | None = Field(default=None, description="The run that this is about.")
    expected: str | int | None = Field(default=None, description="What should have been there.")
    found: str | int | None = Field(default=None, description="What was there.")
    active_run_id: RunId | None = Field(
        default=None, description="The run that holds the exclusive key."
    )
    retryable: bool | None = Field(
        default=None, description="True when the same request may succeed a little later."
    )
    spool_pending: int | None = Field(
        default=None, description="Of `/healthz`: events that wait on this machine for the store."
    )
    faults: list[Fault] | None = Field(
        default=None, description="Each thing that is wrong with the request."
    )


class Refusal(HTTPException):
    """An error that is no error of the store: raised by routes, answered as a problem document."""

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        headers: dict[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(status, detail, headers)
        self.problem = problem(status, kind, detail, **members)


def problem(status: int, kind: str, detail: str, **members: Any) -> LastwordProblem:
    """The document; `kind` is the last part of its type, or empty for ``about:blank``."""
    urn: Any = f"urn:lastword:problem:{kind}" if kind else "about:blank"
    title = kind.replace("-", " ") if kind else HTTPStatus(status).phrase
    return LastwordProblem(
        type=urn, title=title.capitalize(), status=status, detail=sanitise(detail), **members
    )


def answer(document: LastwordProblem, headers: dict[str, str] | None = None) -> Response:
    """The document as a response."""
    return Response(
        document.model_dump_json(exclude_none=True),
        document.status,
        {"Cache-Control": "no-store", **(headers or {})},
        MEDIA_TYPE,
    )


def answer_to(error: Exception) -> Response:
    """The response that stands for an error. Unexpected ones are logged, and tell the client nothing."""
    headers: dict[str, str] = {}
    match error:
        case Refusal():
            document, headers = error.problem, dict(error.headers or {})
        case HTTPException():
            document = problem(error.status_code, "", error.detail)
            headers = dict(error.headers or {})
        case RequestValidationError():
            document = _invalid(error)
        case LastwordError():
            document = _of_tracker(error)
            if document.status == HTTPStatus.SERVICE_UNAVAILABLE:
                headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
        case _:
            log.error("lastword.web.internal_error", error=type(error).__name__, exc_info=error)
            document = problem(
                500, "internal", "An internal error; the server's log has what happened."
            )
    return answer(document, headers)


def _of_tracker(error: LastwordError) -> LastwordProblem:
    text = str(error)
    match error:
        case RunNotFound():
            return problem(404, "run-not-found", text, run_id=error.run_id)
        case RunAlreadyExists():
            return problem(
                409, "run-already-exists", text, run_id=error.run_id, found=sanitise(error.differs)
            )
        case RunAlreadyActive():
            return problem(
                409,
                "run-already-active",
                text,
                run_id=error.run_id,
                active_run_id=error.active_run_id,
            )
        case InvalidTransition():
            return problem(
                409,
                "invalid-transition",
                text,
                run_id=error.run_id,
                expected=str(error.to_status),
                found=error.from_status,
            )
        case VersionConflict():
            return problem(
                409,
                "version-conflict",
                text,
                run_id=error.run_id,
                expected=error.expected,
                found=error.found,
                retryable=True,
            )
        case InvalidInput():
            return problem(422, "invalid-input", text)
        case StoreUnavailable():
            return problem(503, "store-unavailable", text, retryable=True)
        case UnsupportedSchema():
            return problem(
                500, "unsupported-schema", text, expected=error.supported, found=error.found
            )
        case StoreCorrupt():
            return problem(500, "store-corrupt", text)
        case _:
            return problem(500, "internal", text)


def _invalid(error: RequestValidationError) -> LastwordProblem:
    faults = [
        Fault(
            where=sanitise(".".join(str(part) for part in item["loc"]), 200),
            message=sanitise(item["msg"], 300),
        )
        for item in error.errors()[:_MAX_FAULTS]
    ]
    detail = "; ".join(f"{fault.where}: {fault.message}" for fault in faults)
    broken = any(item["type"] == "json_invalid" for item in error.errors())
    return problem(400 if broken else 422, "invalid-input", detail, faults=faults)

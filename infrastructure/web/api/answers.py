"""What the API answers: views and pages as JSON, with validators for caches."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Annotated

from fastapi import Path, Request, Response
from pydantic import BaseModel, Field

from ....projections.run_view import RunView

RunPath = Annotated[
    str,
    Path(
        description="The run's id. `1` names the run that was created with the number 1 or the text `1`. Write a slash as `%2F`.",
        min_length=1,
        examples=["17"],
    ),
]

JSON = "application/json"
NO_STORE = {"Cache-Control": "no-store"}


class RunPage(BaseModel):
    """Some runs, newest first."""

    items: list[RunView]
    next_cursor: str | None = Field(
        description="Pass it as `cursor` for the next page; null on the last one."
    )


def fresh(body: bytes | str, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer that no cache keeps."""
    return Response(body, 200, {**NO_STORE, **(headers or {})}, JSON)


def validated(request: Request, body: str, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer with an entity tag; 304 when the client has it already."""
    tag = f'"{blake2b(body.encode(), digest_size=16).hexdigest()}"'
    sent = {"ETag": tag, "Cache-Control": "private, no-cache", **(headers or {})}
    given = request.headers.get("if-none-match", "")
    if given.strip() == "*" or tag in (
        part.strip().removeprefix("W/") for part in given.split(",")
    ):
        return Response(None, 304, sent)
    return Response(body, 200, sent, JSON)

"""How the API's routes differ from plain ones: ids with slashes, strangers in the query, errors as problem documents."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, cast
from urllib.parse import unquote

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

from .problems import MEDIA_TYPE, Refusal, answer_to, problem

_SLASH = "\udc2f"
"""Stands for a slash inside an id while the path is taken apart; no path that was decoded from UTF-8 holds it."""

_NOTES = {
    400: ("", "The body is no JSON, or the request cannot be read."),
    401: ("token-required", "A token is needed and was not given, or it is the wrong one."),
    403: ("other-origin", "A page of another site is behind the request."),
    404: ("run-not-found", "No run has this id."),
    409: ("invalid-transition", "The run's state does not allow it."),
    413: ("body-too-large", "The body has more than 1 MiB."),
    415: ("unsupported-media-type", "The body is not `application/json`."),
    421: ("unknown-host", "The `Host` header names a host that this server does not answer for."),
    422: ("invalid-input", "A value cannot be recorded, or a parameter is unknown."),
    429: ("too-many-streams", "This client has as many open streams as it may have."),
    500: ("internal", "A fault of the server, or a store that cannot be read."),
    503: ("store-unavailable", "The store does not answer; `Retry-After` says when to try again."),
}


def errors(*statuses: int, **examples: Mapping[str, Any]) -> dict[int | str, dict[str, Any]]:
    """The error responses of a route, for its OpenAPI document; the same few can come from every route."""
    reference = {"$ref": "#/components/schemas/LastwordProblem"}
    declared: dict[int | str, dict[str, Any]] = {}
    for status in sorted({*statuses, 422, 500, 503}):
        kind, words = _NOTES[status]
        example = problem(status, kind, words).model_dump(mode="json", exclude_none=True)
        declared[status] = {
            "description": words,
            "content": {MEDIA_TYPE: {"schema": reference, "example": example}},
        }
        if status == 503:
            declared[status]["headers"] = {
                "Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}
            }
    return declared


class Route(APIRoute):
    """A route of the API."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As usual, but with ``%2F`` as a part of an id, not as the end of it."""
        path = _path_with_slashes_kept(scope)
        if path is None:
            return super().matches(scope)
        match, child = super().matches(cast("Scope", {**scope, "path": path}))
        if match is not Match.NONE:
            child["path_params"] = {
                name: value.replace(_SLASH, "/") if isinstance(value, str) else value
                for name, value in child["path_params"].items()
            }
        return match, child

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with errors answered here: the application that mounts the router may have handlers of its own."""
        handle = super().get_route_handler()
        has_body = self.body_field is not None
        known = _known_parameters(self)

        async def guarded(request: Request) -> Response:
            try:
                _refuse_strangers(request, known)
                if has_body:
                    _expect_json(request)
                return await handle(request)
            except Exception as error:  # noqa: BLE001  # every error has its answer; unexpected ones are logged there
                return answer_to(error)

        return guarded


def _path_with_slashes_kept(scope: Scope) -> str | None:
    """The path with a stand-in for each encoded slash; None when there is none."""
    raw: bytes = scope.get("raw_path") or b""
    if b"%2f" not in raw.lower():
        return None
    segments = raw.partition(b"?")[0].decode("latin-1").split("/")
    kept = "/".join(unquote(segment).replace("/", _SLASH) for segment in segments)
    # A server may put its root path in front of the decoded path and not of the raw one.
    path: str = scope["path"]
    front = path.removesuffix(kept.replace(_SLASH, "/"))
    return front + kept if len(front) + len(kept) == len(path) else None


def _known_parameters(route: APIRoute) -> frozenset[str]:
    """The names that the query may have; a model's fields are those of the query."""
    names: set[str] = set()
    pending = [route.dependant]
    while pending:
        dependant = pending.pop()
        pending.extend(dependant.dependencies)
        for field in dependant.query_params:
            model = getattr(field.field_info.annotation, "model_fields", None)
            names.update([field.alias] if model is None else model)
    return frozenset(names)


def _refuse_strangers(request: Request, known: frozenset[str]) -> None:
    """A misspelt filter must not silently widen an answer."""
    strangers = sorted(set(request.query_params) - known)
    if strangers:
        allowed = ", ".join(sorted(known)) or "no parameter at all"
        raise Refusal(
            422,
            "invalid-input",
            f"query: expected {allowed}, found {strangers[0]!r:.60}",
            expected=allowed,
            found=strangers[0][:60],
        )


def _expect_json(request: Request) -> None:
    headers = request.headers
    if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
        return  # whether a body is needed is the route's to say
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refusal(
            415,
            "unsupported-media-type",
            f"body: expected the content type application/json, found {kind or 'none'!r:.60};"
            " send the header, with curl --json",
            {"Accept": "application/json"},
            expected="application/json",
            found=kind[:60] or "none",
        )

"""The OpenAPI document."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from .problems import LastwordProblem
from .routing import errors

_ABOUT = """An event-sourced run tracker: every run gets a last word, or a flag that says it never had one.

Errors are problem documents (RFC 9457); their `type` is stable. Times are UTC. A list has a `Link` header to its next page.
"""


def described(app: FastAPI, *, with_token: bool) -> dict[str, Any]:
    """The document of the application, made once: what its routes say, and what the guard may answer to each of them."""
    if app.openapi_schema is not None:
        return app.openapi_schema
    document = get_openapi(
        title=app.title, version=app.version, description=_ABOUT, routes=app.routes
    )
    components = document.setdefault("components", {})
    schema = LastwordProblem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas: dict[str, Any] = components.setdefault("schemas", {})
    schemas.update({**schema.pop("$defs", {}), "LastwordProblem": schema})
    schemas.pop("JsonValue", None)
    guarded = errors(401, 403, 413, 421) if with_token else errors(403, 413, 421)
    for path in document["paths"].values():
        for operation in path.values():
            for status, answer in guarded.items():
                operation["responses"].setdefault(str(status), answer)
    if with_token:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
    whole: dict[str, Any] = _inlined(document)
    app.openapi_schema = whole
    return whole


def _inlined(part: Any) -> Any:
    """The same with `{}` where any JSON may stand: generators make a class without members of a schema that only has a name."""
    if isinstance(part, dict):
        if part.get("$ref") == "#/components/schemas/JsonValue":
            return {name: value for name, value in part.items() if name != "$ref"}
        return {name: _inlined(value) for name, value in part.items()}
    return [_inlined(item) for item in part] if isinstance(part, list) else part

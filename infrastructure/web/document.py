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
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=_ABOUT, routes=app.routes
        )
        components = document.setdefault("components", {})
        schema = LastwordProblem.model_json_schema(ref_template="#/components/schemas/{model}")
        components.setdefault("schemas", {}).update(schema.pop("$defs", {}))
        components["schemas"]["LastwordProblem"] = schema
        guarded = errors(401, 403, 413, 421) if with_token else errors(403, 413, 421)
        for path in document["paths"].values():
            for operation in path.values():
                for status, answer in guarded.items():
                    operation["responses"].setdefault(str(status), answer)
        if with_token:
            components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            document["security"] = [{"token": []}]
        app.openapi_schema = document
    return app.openapi_schema

"""Asking the HTTP API in tests: in this process, without a socket."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
from fastapi import FastAPI

LOCAL = "http://localhost"


class Client:
    """Asks an application one request at a time; keeps no cookies and follows no redirects."""

    def __init__(self, app: FastAPI, base_url: str = LOCAL) -> None:
        self._app = app
        self._base_url = base_url

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """One request. The path is taken as it is written, percent-encoding included."""

        async def once() -> httpx.Response:
            transport = httpx.ASGITransport(app=self._app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url=self._base_url) as client:
                return await client.request(method, path, **more)

        return asyncio.run(once())

    def get(self, path: str, **headers: str) -> httpx.Response:
        """A GET with headers, an underscore for each dash in their names."""
        return self.ask("GET", path, headers=_headers(headers))

    def post(self, path: str, json: Any = None, **headers: str) -> httpx.Response:
        """A POST with a JSON body, or with none."""
        body = {} if json is None else {"json": json}
        return self.ask("POST", path, headers=_headers(headers), **body)


def problem(response: httpx.Response) -> tuple[int, str]:
    """The status and the kind of a problem document, which must be one."""
    assert "application/problem+json" == response.headers["content-type"], response.text
    document = response.json()
    assert response.status_code == document["status"]
    return response.status_code, document["type"].rpartition(":")[2]


def _headers(given: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in given.items()}

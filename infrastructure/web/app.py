"""The application: API, pages and the guard around them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from ...domain.errors import InvalidInput
from ..managing.asynchronous import AsyncRunManager
from ..managing.manager import RunManager
from ..tracking.tracker import RunTracker
from .api.routes import api_router
from .desk import Desk
from .document import described
from .guarding.guard import Guard
from .guarding.hosts import HostList, is_loopback
from .guarding.tokens import Keyring
from .pages.routes import pages_router
from .problems import answer_to
from .streaming.response import STREAMS_PER_CLIENT


def create_app(
    tracker: RunTracker,
    *,
    host: str = "127.0.0.1",
    allowed_hosts: Iterable[str] = (),
    token: str | None = None,
    manager: RunManager | AsyncRunManager | None = None,
    streams_per_client: int = STREAMS_PER_CLIENT,
) -> FastAPI:
    """The whole application over one tracker, which stays the caller's to close.

    `host` is the address that it will listen on; it answers for the names of this machine and for `allowed_hosts`. `token` is what
    clients must present; without one it is for this machine only. Streams carry what the runs of a `manager` say while they work. The extra `web` brings what it needs.

    Raises `InvalidInput` for a token that is too short, or for none when other machines can reach the address.
    """
    if token is None and not is_loopback(host):
        raise InvalidInput(
            f"host {host}: expected a token, because other machines can reach this address, found none;"
            " set LASTWORD_TOKEN, or listen on 127.0.0.1"
        )
    desk = Desk(tracker, manager=manager, streams_per_client=streams_per_client)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        desk.open()
        yield
        desk.close()

    # The pages that FastAPI would offer at /docs load their script from another host.
    app = FastAPI(
        title="Lastword",
        version=version("lastword"),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.desk = desk
    keyring = None if token is None else Keyring(token, clock=tracker.clock)
    app.include_router(api_router(desk))
    app.include_router(pages_router(desk, keyring))
    for kind in (HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _answer)
    app.openapi = lambda: described(app, with_token=keyring is not None)
    app.add_middleware(Guard, hosts=HostList.for_binding(host, allowed_hosts), keyring=keyring)
    return app


async def _answer(request: Request, error: Exception) -> Response:
    return answer_to(error)

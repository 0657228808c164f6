"""The pages: the list, one run, cancelling it, and the files that they need."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException

from ....domain.errors import LastwordError, RunNotFound
from ....domain.values import RunId
from ....projections.queries import Page
from ....projections.run_view import RunView
from ...logs import get_logger
from ...tracking.tracker import RunTracker
from ..desk import Desk
from ..guarding.tokens import Keyring
from .addresses import base_of, run_address
from .filters import Filters
from .forms import fields_of, from_this_page
from .news import News
from .overview import Overview, Shared, Spool
from .rendering import HERE, page
from .run_page import RunPage
from .signing import Signing
from .troubles import FOREIGN, NOT_STORED, Trouble, trouble_of

log = get_logger("lastword.web.pages")

FILES = {
    "lastword.css": "text/css; charset=utf-8",
    "live.js": "text/javascript; charset=utf-8",
    "morph.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
"""What the pages load; all of it is in the folder ``static``."""

_HOUR = timedelta(hours=1)
_LONGEST_REASON = 1_000
Handler = Callable[[Request], Awaitable[Response]]


def pages_router(desk: Desk, keyring: Keyring | None = None) -> APIRouter:
    """All pages, to be included in an application at any prefix. They are no part of the API's document.

    With a `keyring` there is a page to sign in, for browsers: they cannot send a token with a link.
    """
    router = APIRouter(include_in_schema=False)
    pages = Pages(desk, with_token=keyring is not None)
    router.add_api_route("/", pages.runs, methods=["GET"])
    router.add_api_route("/runs/", pages.find, methods=["GET"])
    router.add_api_route("/runs/{run_id:path}", pages.run, methods=["GET"])
    router.add_api_route("/news", News(desk).stream, methods=["GET"])
    router.add_api_route("/cancel", pages.cancel, methods=["POST"])
    if keyring is not None:
        signing = Signing(keyring)
        router.add_api_route("/login", signing.ask, methods=["GET"])
        router.add_api_route("/login", signing.sign_in, methods=["POST"])
        router.add_api_route("/logout", signing.sign_out, methods=["POST"])
    for name in FILES:
        router.add_api_route(f"/static/{name}", _file(name), methods=["GET"])
    return router


class _Listed(NamedTuple):
    """What the list shows, as of one position of the store."""

    position: int
    overview: Overview
    page: Page[RunView]


class _Told(NamedTuple):
    """What a run's page shows, as of one position of the store."""

    position: int
    page: RunPage
    spool: Spool


class Pages:
    """The handlers, over one desk; the store is asked in its threads.

    The list asks the store for its newest position and for its own runs. Counts, flagged runs, the spool and the chart are asked for
    at most once a second, the chart every 15 seconds, however many look. A run's page asks for the position, the run and its history.
    """

    def __init__(self, desk: Desk, *, with_token: bool = False) -> None:
        self._with_token = with_token
        self._desk = desk
        self._tracker = desk.tracker
        self._shared = Shared(desk.tracker)

    async def runs(self, request: Request) -> Response:
        """The list, filtered as the address bar says."""
        base, now = base_of(request, "/"), self._tracker.clock()
        filters = Filters.of(request.query_params.multi_items(), now)
        try:
            listed = await self._desk.ask(self._listed, filters)
        except Exception as error:  # noqa: BLE001  # whatever it is, people get a page
            return self._trouble(base, error)
        return self._page(
            "list.html",
            base,
            400 if filters.problems else 200,
            now=now,
            hour=_HOUR,
            filters=filters,
            position=listed.position,
            overview=listed.overview,
            views=listed.page.items,
            next_cursor=listed.page.next_cursor,
        )

    async def find(self, request: Request) -> Response:
        """A run by its id, or by the beginning or the end of it; shows the run, or those that it could be."""
        base = base_of(request, "/runs/")
        fragment = request.query_params.get("id", "").strip()
        try:
            found = await self._desk.ask(self._tracker.find, fragment) if fragment else []
        except Exception as error:  # noqa: BLE001  # whatever it is, people get a page
            return self._trouble(base, error)
        if not found:
            return self._trouble(base, RunNotFound(fragment))
        address = run_address(found[0])
        if len(found) > 1:
            trouble = Trouble(300, f"{len(found)} runs are called like that", ("Which one?",))
            return self._page_of(trouble, base, candidates=found)
        if "?" not in address:
            return RedirectResponse(base + address, 303, {"Cache-Control": "no-store"})
        return await self._run(base, found[0])

    async def run(self, request: Request, run_id: str) -> Response:
        """One run's page."""
        return await self._run(base_of(request, f"/runs/{run_id}"), run_id)

    async def cancel(self, request: Request) -> Response:
        """Ask a run to stop, from the form on its page."""
        base = base_of(request, "/cancel")
        if not from_this_page(request):
            return self._page_of(FOREIGN, base)
        form = await fields_of(request)
        run_id, reason = form.get("id", ""), form.get("reason", "").strip()
        ask = partial(self._tracker.request_cancel, run_id, reason=reason[:_LONGEST_REASON] or None)
        try:
            receipt = await self._desk.tell(ask)
        except Exception as error:  # noqa: BLE001  # whatever it is, people get a page
            return self._trouble(base, error)
        if not receipt.stored:
            return self._page_of(NOT_STORED, base)
        return RedirectResponse(base + run_address(receipt.run_id), 303)

    async def _run(self, base: str, run_id: RunId) -> Response:
        now = self._tracker.clock()
        try:
            told = await self._desk.ask(self._told, run_id, now)
        except Exception as error:  # noqa: BLE001  # whatever it is, people get a page
            return self._trouble(base, error)
        return self._page(
            "run.html", base, now=now, position=told.position, page=told.page, spool=told.spool
        )

    def _listed(self, filters: Filters) -> _Listed:
        position = self._tracker.store.last_position()  # first, so that nothing is missed behind it
        overview = self._shared.overview(filters.name)
        found = Page(()) if filters.problems else self._tracker.list(**filters.arguments)
        return _Listed(position, overview, found)

    def _told(self, run_id: RunId, now: datetime) -> _Told:
        position = self._tracker.store.last_position()
        view, events = consistent(self._tracker, run_id)
        return _Told(position, RunPage.of(view, events, now), self._shared.spool())

    def _trouble(self, base: str, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            raise error
        if not isinstance(error, LastwordError):
            log.error("lastword.web.internal_error", error=type(error).__name__, exc_info=error)
        return self._page_of(trouble_of(error), base)

    def _page_of(self, trouble: Trouble, base: str, **shown: Any) -> Response:
        return self._page(
            "problem.html",
            base,
            trouble.status,
            {"Retry-After": "5"} if trouble.retry else None,
            **{"now": self._tracker.clock(), "trouble": trouble, "candidates": ()} | shown,
        )

    def _page(
        self,
        template: str,
        base: str,
        status: int = 200,
        headers: dict[str, str] | None = None,
        **shown: Any,
    ) -> Response:
        return page(template, status, headers, base=base, with_token=self._with_token, **shown)


def consistent(tracker: RunTracker, run_id: RunId) -> tuple[RunView, list[Any]]:
    """The run and its history as of one moment: events that came between the two questions are left for the next time."""
    view = tracker.get(run_id)
    events = tracker.history(view.run_id)
    return view, [item for item in events if item.version <= view.version]


def _file(name: str) -> Handler:
    content = (HERE / "static" / name).read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"Cache-Control": "no-cache", "ETag": tag}

    async def file(request: Request) -> Response:
        if tag in request.headers.get("if-none-match", ""):
            return Response(None, 304, headers)
        return Response(content, 200, headers, FILES[name])

    return file

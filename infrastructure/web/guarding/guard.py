"""The guard: one ASGI layer around the whole application. What it refuses, no route ever sees."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ...logs import get_logger
from ..problems import Refusal, answer_to
from .hosts import HostList, same_origin
from .tokens import Keyring, bearer_of, session_of

log = get_logger("lastword.web.guard")

MAX_BODY = 1024 * 1024
"""Bytes in the body of a request."""
LOGIN = "/login"
"""Where a browser gets its session; open to everybody, like the things that the form needs."""
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_OPEN = frozenset({LOGIN, "/healthz", "/favicon.ico"})
_OPEN_FOLDER = "/static/"

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self';"
        " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "same-origin",  # with "no-referrer" a browser says "null" of its own forms' origin
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""On every answer."""


class Guard:
    """Checks host, origin, token and size of every request, and puts protective headers on every answer.

    Without a `keyring` there is no token: for a server that only its own machine can reach.
    """

    def __init__(self, app: ASGIApp, *, hosts: HostList, keyring: Keyring | None) -> None:
        self._app = app
        self._hosts = hosts
        self._keyring = keyring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # there are no websockets here

        async def protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refused = self._refusal(scope)
        if refused is not None:
            await refused(scope, receive, protected)
            return
        await self._app(scope, _bounded(receive), protected)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        try:
            self._check_host(scope, headers)
            _check_size(headers)
            _check_origin(scope, headers)
            self._check_token(scope, headers)
        except Refusal as refusal:
            log.info(
                "lastword.web.refused",
                status=refusal.status_code,
                problem=refusal.problem.type,
                client=(scope.get("client") or ("?",))[0],
            )
            if refusal.status_code == 401 and _wants_page(scope, headers):
                return RedirectResponse(LOGIN, 303, {"Cache-Control": "no-store"})
            return answer_to(refusal)
        return None

    def _check_host(self, scope: Scope, headers: Headers) -> None:
        given = headers.getlist("host")
        local = (scope.get("server") or (None,))[0]
        if len(given) != 1 or not self._hosts.allows(given[0], local):
            raise Refusal(
                421,
                "unknown-host",
                "Host: expected a name of this server, found another one; start it with --allow-host NAME",
            )

    def _check_token(self, scope: Scope, headers: Headers) -> None:
        if self._keyring is None:
            return
        path: str = scope["path"]
        if path in _OPEN or path.startswith(_OPEN_FOLDER):
            return
        token = bearer_of(headers.get("authorization", ""))
        if token is not None and self._keyring.opens(token):
            return
        session = session_of(headers.get("cookie", ""))
        if token is None and session is not None and self._keyring.is_session(session):
            if scope["method"] in SAFE or "origin" in headers or "sec-fetch-site" in headers:
                return
            raise Refusal(
                403,
                "other-origin",
                "Origin: expected the header from a browser that changes something, found none; send the token as a Bearer instead",
            )
        found = "none" if token is None and session is None else "another one"
        raise Refusal(
            401,
            "token-required",
            f"Authorization: expected `Bearer` and the token of LASTWORD_TOKEN, found {found}",
            {"WWW-Authenticate": 'Bearer realm="lastword"'},
        )


def _check_origin(scope: Scope, headers: Headers) -> None:
    """A page of another site may link here, and nothing else: it may neither change something nor embed or read it."""
    site = headers.get("sec-fetch-site")
    follows_link = scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate"
    foreign = site is not None and site not in {"same-origin", "none"} and not follows_link
    origin = headers.get("origin")
    if origin is not None and not same_origin(origin, scope["scheme"], headers.get("host", "")):
        foreign = True
    if foreign:
        raise Refusal(
            403,
            "other-origin",
            "Origin: expected a page of this server, found one of another site; there is no way to allow one",
        )


def _check_size(headers: Headers) -> None:
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length[:20]) > MAX_BODY:
        raise too_large()


def _bounded(receive: Receive) -> Receive:
    """Counts what comes: a body that is sent in chunks does not say how long it is."""
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > MAX_BODY:
                raise too_large()
        return message

    return counted


def too_large() -> Refusal:
    """The body has too many bytes; what is left of it is not read."""
    return Refusal(
        413,
        "body-too-large",
        f"body: expected at most {MAX_BODY:,} bytes, found more; store it elsewhere and send a reference",
        {"Connection": "close"},
        expected=MAX_BODY,
    )


def _wants_page(scope: Scope, headers: Headers) -> bool:
    return scope["method"] == "GET" and "text/html" in headers.get("accept", "")

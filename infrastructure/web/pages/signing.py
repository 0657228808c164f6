"""Signing in: a browser cannot send a token with each link, so it gets a cookie for it."""

from __future__ import annotations

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from ..guarding.tokens import COOKIE, SESSION, Keyring
from .addresses import base_of
from .forms import fields_of, from_this_page
from .rendering import page

_NO_STORE = {"Cache-Control": "no-store"}


class Signing:
    """The handlers around a session."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    async def ask(self, request: Request) -> Response:
        """The form."""
        return page("login.html", base=base_of(request, "/login"), failed="")

    async def sign_in(self, request: Request) -> Response:
        """The token for a cookie: not readable by scripts, not sent by other sites' forms, and over TLS only where there is TLS."""
        base = base_of(request, "/login")
        if not from_this_page(request):
            return page("login.html", 403, base=base, failed="This form was not sent by this page.")
        token = (await fields_of(request)).get("token", "").strip()
        if not self._keyring.opens(token):
            return page("login.html", 403, base=base, failed="This is not the token.")
        answer = RedirectResponse(f"{base}/", 303, _NO_STORE)
        answer.set_cookie(
            COOKIE,
            self._keyring.session(),
            max_age=int(SESSION.total_seconds()),
            path=f"{base}/",
            secure=request.scope["scheme"] == "https",
            httponly=True,
            samesite="lax",
        )
        return answer

    async def sign_out(self, request: Request) -> Response:
        """The browser forgets the cookie."""
        base = base_of(request, "/logout")
        answer = RedirectResponse(f"{base}/login", 303, _NO_STORE)
        if from_this_page(request):
            answer.delete_cookie(COOKIE, path=f"{base}/")
        return answer

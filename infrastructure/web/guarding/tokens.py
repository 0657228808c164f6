"""The token, and the cookie that stands for it in a browser."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from datetime import datetime, timedelta
from http.cookies import CookieError, SimpleCookie

from ....domain.errors import InvalidInput

COOKIE = "lastword_session"
SESSION = timedelta(hours=12)
"""How long a browser stays signed in."""
SHORTEST_TOKEN = 16
"""Characters; a token is not guessed online if it is random and this long."""


class Keyring:
    """Knows the token, and compares in constant time.

    >>> from datetime import UTC
    >>> now = datetime(2026, 2, 5, tzinfo=UTC)
    >>> keys = Keyring("a-token-of-some-length", clock=lambda: now)
    >>> keys.opens("a-token-of-some-length"), keys.opens("another"), keys.is_session(keys.session())
    (True, False, True)
    """

    def __init__(self, token: str, *, clock: Callable[[], datetime]) -> None:
        if len(token) < SHORTEST_TOKEN:
            raise InvalidInput(
                f"token: expected {SHORTEST_TOKEN} characters or more, found {len(token)}; make one with"
                " `python -c 'import secrets; print(secrets.token_urlsafe(32))'`"
            )
        self._clock = clock
        # Digests have one length, so that a comparison tells nothing about the length of the token either.
        self._digest = _digest(token)
        self._session_key = hmac.digest(token.encode(), b"lastword session v1", "sha256")

    def opens(self, given: str) -> bool:
        """Whether it is the token."""
        return hmac.compare_digest(_digest(given), self._digest)

    def session(self) -> str:
        """The value of a cookie that is good for `SESSION`; the token cannot be computed from it."""
        until = int((self._clock() + SESSION).timestamp())
        return f"{until}.{self._sign(until)}"

    def is_session(self, given: str) -> bool:
        """Whether the value of a cookie was given out here, for this token, and has not run out."""
        until, _, signature = given.partition(".")
        if not until.isascii() or not until.isdecimal() or len(until) > 15:
            return False
        genuine = hmac.compare_digest(
            signature.encode("utf-8", "replace"), self._sign(int(until)).encode()
        )
        return genuine and self._clock().timestamp() < int(until)

    def _sign(self, until: int) -> str:
        return hmac.new(self._session_key, str(until).encode(), hashlib.sha256).hexdigest()


def bearer_of(header: str) -> str | None:
    """The token in an ``Authorization`` header; None when there is none.

    >>> bearer_of("Bearer abc"), bearer_of("Basic abc")
    ('abc', None)
    """
    scheme, _, token = header.strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def session_of(header: str) -> str | None:
    """The session in a ``Cookie`` header; None when there is none."""
    try:
        morsel = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return None
    return None if morsel is None else morsel.value


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()

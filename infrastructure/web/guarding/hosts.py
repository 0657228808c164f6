"""Which `Host` headers are answered, and which origins may change something."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


def is_loopback(host: str) -> bool:
    """Whether an address to listen on can be reached from this machine only.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0"), is_loopback("::1")
    (True, True, False, True)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def name_in(header: str) -> str | None:
    """The host in a ``Host`` header without its port, in lower case; None when it is none.

    >>> name_in("Runs.example.org:8000"), name_in("[::1]:80"), name_in("a b")
    ('runs.example.org', '::1', None)
    """
    if not header or any(character in header for character in "/?#@ \\,"):
        return None
    try:
        parts = urlsplit(f"//{header}")
        _ = parts.port  # raises for what is no number
    except ValueError:
        return None
    return parts.hostname.rstrip(".") if parts.hostname else None


class HostList:
    """The names under which this server may be asked.

    A page of another site can make its own name point to this machine (DNS rebinding); then it is its own name that stands in the
    ``Host`` header. So only known names are answered: those that were allowed, those of this machine, and the very address to
    which the connection was made, which no name server can hand out.

    >>> names = HostList.for_binding("127.0.0.1")
    >>> names.allows("localhost:8000", None), names.allows("evil.example:8000", None)
    (True, False)
    """

    def __init__(self, names: Iterable[str], *, own_address: bool = False) -> None:
        self._names = frozenset(name.lower().strip("[]").rstrip(".") for name in names)
        self._own_address = own_address

    @classmethod
    def for_binding(cls, host: str, more: Iterable[str] = ()) -> HostList:
        """For a server that listens on this address; `more` names are allowed, too."""
        if is_loopback(host):
            return cls([*LOOPBACK_NAMES, host, *more])
        return cls([*LOOPBACK_NAMES, socket.gethostname(), *more], own_address=True)

    def allows(self, header: str, local_address: str | None) -> bool:
        """Whether a request with this header, on a connection to this local address, is answered."""
        name = name_in(header)
        if name is None:
            return False
        return name in self._names or (self._own_address and name == local_address)


def same_origin(origin: str, scheme: str, host: str) -> bool:
    """Whether an ``Origin`` header names the server that was asked.

    >>> same_origin("http://localhost:8000", "http", "localhost:8000"), same_origin("null", "http", "localhost")
    (True, False)
    """
    return _origin(origin) == _origin(f"{scheme}://{host}") is not None


def _origin(text: str) -> tuple[str, str, int | None] | None:
    try:
        parts = urlsplit(text.lower())
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return None
    return (parts.scheme, parts.hostname, port) if parts.hostname else None

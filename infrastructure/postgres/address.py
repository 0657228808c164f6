"""From a URL to what the driver is told, and to what people are shown: never with credentials."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from psycopg import Error
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ...domain.errors import InvalidInput

DEFAULT_SCHEMA = "lastword"
DEFAULT_POOL_SIZE = 8

_PATIENT = {
    "application_name": "lastword",
    "client_encoding": "UTF8",
    "connect_timeout": "3",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
}
"""What libpq is told unless the URL says otherwise: a server that is gone is noticed within seconds."""
_SCHEMA = re.compile(r"[A-Za-z_][A-Za-z0-9_$]{0,39}")
_SHOWN = "expected postgresql://[USER[:PASSWORD]@]HOST[:PORT]/DATABASE[?schema=NAME&...]"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a store is, and how it is to be reached."""

    conninfo: str
    """For PostgreSQL's own library; credentials included."""
    schema: str
    """Where the tables are."""
    pool_size: int
    """How many connections may be open at once for reading and writing."""
    prepare: bool | None
    """Whether statements are prepared; None: unless a pooler is between here and the server."""
    url: str
    """The store's name: without credentials, and without what does not matter to where it is."""


def parse(url: str) -> Address:
    """The parts of a URL. Raises `InvalidInput`, which does not show it: it may hold a password.

    >>> parse("postgresql://me:secret@db:5433/runs?schema=jobs&sslmode=require").url
    'postgresql://db:5433/runs?schema=jobs'
    """
    try:
        parts = urlsplit(url)
        given = dict(
            parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        )
    except ValueError:
        raise InvalidInput(f"url: {_SHOWN}, found one that cannot be read") from None
    schema = given.pop("schema", DEFAULT_SCHEMA)
    if not _SCHEMA.fullmatch(schema):
        raise InvalidInput(
            f"url: schema: expected up to 40 letters, digits and underscores, found {schema!r:.60}"
        )
    pool_size = _number(given.pop("pool_size", str(DEFAULT_POOL_SIZE)))
    prepare = _switch(given.pop("prepare", None))
    conninfo = urlunsplit(parts._replace(query=urlencode(given, quote_via=quote)))
    try:
        known: Mapping[str, object] = conninfo_to_dict(conninfo)
    except Error:
        unknown = ", ".join(sorted(given)) or "none"
        raise InvalidInput(
            f"url: {_SHOWN}, found one that PostgreSQL's own library does not take; its options: {unknown}"
        ) from None
    options = {name: value for name, value in _PATIENT.items() if name not in known}
    if "," in str(known.get("host", "")) and "target_session_attrs" not in known:
        options["target_session_attrs"] = "read-write"  # of several hosts, the one that leads
    return Address(
        make_conninfo(conninfo, **options), schema, pool_size, prepare, _shown(known, schema)
    )


def _shown(known: Mapping[str, object], schema: str) -> str:
    """The same for everybody who means the same store, whoever they are."""
    host, port = str(known.get("host") or ""), str(known.get("port") or "")
    query = {} if schema == DEFAULT_SCHEMA else {"schema": schema}
    if host.startswith("/") or "," in host:  # a socket's folder, or several hosts
        query = {"host": host, **({"port": port} if port else {}), **query}
        where = ""
    else:
        where = f"[{host}]" if ":" in host else host
        where += f":{port}" if port and port != "5432" else ""
    path = quote(str(known.get("dbname") or ""))
    options = f"?{urlencode(query)}" if query else ""
    return f"postgresql://{where}/{path}{options}"


def _number(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise InvalidInput(f"url: pool_size: expected 1 to 1000, found {text!r:.60}")
    return int(text)


def _switch(text: str | None) -> bool | None:
    if text is None:
        return None
    if text not in {"on", "off"}:
        raise InvalidInput(f"url: prepare: expected on or off, found {text!r:.60}")
    return text == "on"

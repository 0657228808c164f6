"""What a form of a page sends, and whether it was one of our pages."""

from __future__ import annotations

from urllib.parse import parse_qsl

from fastapi import Request

from ..guarding.hosts import same_origin


def from_this_page(request: Request) -> bool:
    """Whether a form was sent by a page of this server. Every browser says where a form comes from; what says nothing is none."""
    headers = request.headers
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if origin is not None:
        own = same_origin(origin, request.scope["scheme"], headers.get("host", ""))
        return own and site in (None, "same-origin")
    return site == "same-origin"


async def fields_of(request: Request) -> dict[str, str]:
    """The fields by name; none when the body is no form."""
    body = (await request.body()).decode("utf-8", "replace")
    try:
        return dict(parse_qsl(body, max_num_fields=20))
    except ValueError:
        return {}

"""`Link` headers (RFC 8288) to the next page."""

from __future__ import annotations

from urllib.parse import urlencode

from fastapi import Request


def next_link(request: Request, **parameters: str | int | None) -> dict[str, str]:
    """The header that names the next page: this request with other parameters; nothing when one of them is None.

    The address is relative, so that it holds behind any proxy.
    """
    if None in parameters.values():
        return {}
    kept = [
        (key, value) for key, value in request.query_params.multi_items() if key not in parameters
    ]
    query = urlencode([*kept, *((key, str(value)) for key, value in parameters.items())])
    return {"Link": f'<?{query}>; rel="next"'}

"""Where the pages are, also when an application mounts them somewhere else."""

from __future__ import annotations

from urllib.parse import quote

from fastapi import Request

from ....domain.values import RunId


def base_of(request: Request, own_path: str) -> str:
    """The path under which the pages are mounted, without a slash at the end; `own_path` is the page's, behind that."""
    path: str = request.scope["path"]
    root: str = request.scope.get("root_path", "")
    if not path.startswith(root):  # a proxy has taken it away
        path = root + path
    return path.removesuffix(own_path)


def run_address(run_id: RunId) -> str:
    """The run's page, behind the base. A browser takes a path that ends in dots for a way up, so those ids go another way.

    >>> run_address(17), run_address("a/b ü"), run_address("..")
    ('/runs/17', '/runs/a%2Fb%20%C3%BC', '/runs/?id=..')
    """
    text = str(run_id)
    if text in {".", ".."}:
        return f"/runs/?id={text}"
    return f"/runs/{quote(text, safe='')}"

"""From what a page shows to HTML. Everything is escaped, unless a filter here made it."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ....domain.status import RunStatus
from ....domain.values import Utc
from ... import words
from ..guarding.guard import HEADERS
from .addresses import run_address
from .run_page import pretty, share_of
from .story import FLAGS, At, Link, Name, Quote

HERE = Path(__file__).parent


def page(
    template: str, status: int = 200, headers: dict[str, str] | None = None, **shown: Any
) -> Response:
    """A page as a response that no cache keeps."""
    html = _environment().get_template(template).render(**shown)
    sent = {**HEADERS, "Cache-Control": "no-store", **(headers or {})}
    return Response(html, status, sent, "text/html; charset=utf-8")


@cache
def _environment() -> Environment:
    """The templates beside this file, compiled when they are first used."""
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        FLAGS=FLAGS, statuses=tuple(RunStatus), words=words, share_of=share_of
    )
    environment.filters.update(
        clock=clock,
        moment=moment,
        number=number,
        pretty=pretty,
        run_address=run_address,
        span=words.span,
    )
    environment.tests.update(
        at=lambda piece: isinstance(piece, At),
        link=lambda piece: isinstance(piece, Link),
        name=lambda piece: isinstance(piece, Name),
        quote=lambda piece: isinstance(piece, Quote),
    )
    return environment


def moment(at: Utc, now: datetime | None = None) -> Markup:
    """A moment for people and for machines: how long ago when `now` is given, with the exact time at hand."""
    exact = f"{at:%Y-%m-%d %H:%M:%S} UTC"
    text = exact if now is None else words.ago(now - at)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(at.isoformat(), exact, text)


def clock(at: Utc) -> Markup:
    """The time of day of a moment."""
    return Markup('<time datetime="{}">{}</time>').format(at.isoformat(), f"{at:%H:%M:%S}")


def number(value: float) -> str:
    """With separators between thousands."""
    return f"{value:,}"

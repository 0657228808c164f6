"""Lastword over HTTP (extra ``web``): a router for your own FastAPI application, and an application of its own.

>>> from lastword import RunTracker
>>> from lastword.web import create_app
>>> tracker = RunTracker("sqlite:///:memory:")
>>> app = create_app(tracker)
>>> app.title
'Lastword'
>>> tracker.close()
"""

try:
    import fastapi as _fastapi
except ImportError as error:
    raise ImportError(
        "lastword.web: expected FastAPI, found none; install the extra: pip install 'lastword[web]'"
    ) from error

from lastword.infrastructure.web.app import create_app
from lastword.infrastructure.web.mounting import router

__all__ = ["create_app", "router"]

del _fastapi

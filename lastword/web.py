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
    from lastword.infrastructure.web.app import create_app
    from lastword.infrastructure.web.mounting import router
except ImportError as error:
    if error.name is None or error.name.startswith("lastword"):
        raise  # nothing is missing: it is a fault of ours
    raise ImportError(
        f"lastword.web: expected the extra `web`, found no {error.name}; install it: pip install 'lastword[web]'",
        name=error.name,
    ) from error

__all__ = ["create_app", "router"]

"""Loggers for the library: structlog as the application set it up, else plain `logging`.

An unconfigured structlog prints to standard output, which belongs to the application. So until somebody configures structlog,
our events go to the `logging` logger of the same name, as ``event key=value ...``.

structlog takes as long to import as all the rest of us, so it comes with the first tracker (`ready`), not with ``import lastword``.
"""

from __future__ import annotations

import logging
import sys
from contextlib import AbstractContextManager, suppress
from functools import cached_property
from importlib import import_module
from typing import Any

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}


class Logger:
    """Logs an event name with dots, plus fields.

    >>> get_logger("lastword.example").debug("lastword.example.done", run_id=17)
    """

    def __init__(self, name: str) -> None:
        self._name = name

    @cached_property
    def _target(self) -> logging.Logger:
        return logging.getLogger(self._name)

    @cached_property
    def _plain(self) -> Any:
        import structlog

        return structlog.wrap_logger(
            self._target,
            processors=[
                structlog.contextvars.merge_contextvars,
                structlog.stdlib.filter_by_level,
                structlog.stdlib.PositionalArgumentsFormatter(),
                structlog.processors.StackInfoRenderer(),
                structlog.processors.format_exc_info,
                structlog.processors.KeyValueRenderer(
                    key_order=["event", "run_id"], drop_missing=True
                ),
            ],
            wrapper_class=structlog.stdlib.BoundLogger,
            context_class=dict,
            cache_logger_on_first_use=True,
        )

    def debug(self, event: str, **fields: Any) -> None:
        """For those who look for a fault."""
        self._emit("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """Worth knowing."""
        self._emit("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Not as it should be; nothing is lost."""
        self._emit("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """A fact did not get where it belongs."""
        self._emit("error", event, fields)

    def critical(self, event: str, **fields: Any) -> None:
        """A fact may be lost unless somebody acts."""
        self._emit("critical", event, fields)

    def _emit(self, level: str, event: str, fields: dict[str, Any]) -> None:
        """Log; when the application's own set-up breaks on it, by plain `logging`, at last to stderr: the work must not pay for a log line."""
        import structlog

        if structlog.is_configured():
            try:
                getattr(structlog.get_logger(self._name), level)(event, **fields)
            except Exception:  # noqa: BLE001  # said below, in the log that is left
                fields = {**fields, "structlog": "raised; this line took the plain way"}
            else:
                return
        if self._target.isEnabledFor(_LEVELS[level]):  # structlog itself takes ten times as long
            try:
                getattr(self._plain, level)(event, **fields)
            except Exception as error:  # noqa: BLE001  # a filter or a handler; `logging` lets some of it through
                with suppress(Exception):  # stderr may be closed
                    sys.stderr.write(f"{event} {fields!r}; logging it raised {error!r}\n")


def get_logger(name: str) -> Logger:
    """The library's logger of this name."""
    return Logger(name)


def ready() -> None:
    """Import structlog now: on the day of trouble there may be no file descriptor left to do it with."""
    import_module("structlog")


def bound(**fields: Any) -> AbstractContextManager[None]:
    """Inside the block, what this thread or task logs through structlog carries these fields.

    >>> with bound(run_id=17):
    ...     get_logger("lastword.example").debug("lastword.example.inside")
    """
    from structlog.contextvars import bound_contextvars

    return bound_contextvars(**fields)


def bind(**fields: Any) -> None:
    """What is logged through structlog from here on carries these fields: for a context that ends with what they tell of."""
    from structlog.contextvars import bind_contextvars

    bind_contextvars(**fields)

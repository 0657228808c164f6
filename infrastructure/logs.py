"""Loggers for the library: structlog as the application set it up, else plain `logging`.

An unconfigured structlog prints to standard output, which belongs to the application. So until somebody configures structlog,
our events go to the `logging` logger of the same name, as ``event key=value ...``.
"""

from __future__ import annotations

import logging
from typing import Any

import structlog

_PLAIN = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.filter_by_level,
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.processors.StackInfoRenderer(),
    structlog.processors.format_exc_info,
    structlog.processors.KeyValueRenderer(key_order=["event", "run_id"], drop_missing=True),
]


class Logger:
    """Logs an event name with dots, plus fields.

    >>> get_logger("lastword.example").debug("lastword.example.done", run_id=17)
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._plain: Any = structlog.wrap_logger(
            logging.getLogger(name),
            processors=_PLAIN,
            wrapper_class=structlog.stdlib.BoundLogger,
            context_class=dict,
            cache_logger_on_first_use=True,
        )

    def _target(self) -> Any:
        return structlog.get_logger(self._name) if structlog.is_configured() else self._plain

    def debug(self, event: str, **fields: Any) -> None:
        """For those who look for a fault."""
        self._target().debug(event, **fields)

    def info(self, event: str, **fields: Any) -> None:
        """Worth knowing."""
        self._target().info(event, **fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Not as it should be; nothing is lost."""
        self._target().warning(event, **fields)

    def error(self, event: str, **fields: Any) -> None:
        """A fact did not get where it belongs."""
        self._target().error(event, **fields)

    def critical(self, event: str, **fields: Any) -> None:
        """A fact may be lost unless somebody acts."""
        self._target().critical(event, **fields)


def get_logger(name: str) -> Logger:
    """The library's logger of this name."""
    return Logger(name)

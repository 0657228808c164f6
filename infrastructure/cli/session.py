"""What all commands of one invocation share: which store, which log, and how to get at a run."""

from __future__ import annotations

import getpass
import logging
import os
import sys
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from ...domain.errors import InvalidInput, RunNotFound, StoreUnavailable
from ...domain.values import RunId
from ..clock import Clock, now_utc
from ..opening import SQLITE, default_path, open_store, sqlite_path
from ..settings import Settings, load_settings
from ..tracking.tracker import RunTracker
from .output import note

_MEMORY = "sqlite:///:memory:"


class LogFormat(StrEnum):
    """How log lines on stderr look."""

    CONSOLE = "console"
    JSON = "json"


@dataclass(slots=True)
class Session:
    """One invocation of `lastword`."""

    url: str | None = None
    log_format: LogFormat = LogFormat.CONSOLE
    verbose: bool = False
    _time: Clock = now_utc

    @property
    def now(self) -> datetime:
        """The moment by which durations and flags are told: by the store's clock, once one is open."""
        return self._time()

    def open(
        self,
        *,
        create: bool = False,
        strict: bool = True,
        quiet: bool = False,
        clock: Clock | None = None,
    ) -> RunTracker:
        """The tracker, which tells the time by `clock`; None: as the store does. What the store itself notes is by its own clock.

        Unless `create`, a store that is not there stays so: an empty one stands in for the default location.

        Raises `StoreUnavailable` where a location was named and nothing is there.
        """
        self.configure_logs(quiet=quiet)
        settings = load_settings(url=self.url, strict=strict)
        path = _file_of(settings)
        if path is None or create or path.exists():
            store = open_store(settings.url, busy_timeout=settings.attempt_timeout)
            self._time = store.clock
            return RunTracker(settings=settings, store=store, clock=clock)
        if settings.url is not None:
            raise StoreUnavailable(
                f"store {path}: expected a file, found none; check --url and LASTWORD_URL, or begin with"
                " `lastword run`, which creates it",
                transient=False,
            )
        return RunTracker(settings=settings.model_copy(update={"url": _MEMORY}), clock=clock)

    def url_for_children(self) -> str | None:
        """The store's URL as it holds in any working directory; None for one in memory, or where the settings are wrong."""
        try:
            settings = load_settings(url=self.url)
            path = _file_of(settings)
        except (InvalidInput, OSError):
            return None
        if path is not None:
            return f"{SQLITE}{path.absolute()}"
        return settings.url if settings.url and sqlite_path(settings.url) is None else None

    def configure_logs(self, *, quiet: bool = False) -> None:
        """Log lines go to stderr: warnings and worse, with --verbose what is worth knowing too, `quiet`: none at all."""
        import structlog

        level = logging.INFO if self.verbose else logging.WARNING
        tty = sys.stderr.isatty() and "NO_COLOR" not in os.environ
        processors: list[Any] = [
            *([_dropped] if quiet and not self.verbose else []),
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _without_traceback if not debugging() else structlog.processors.format_exc_info,
        ]
        if self.log_format is LogFormat.JSON:
            processors.append(structlog.processors.JSONRenderer())
        else:
            processors.append(structlog.dev.ConsoleRenderer(colors=tty, pad_event_to=0))
        structlog.configure(
            processors=processors,
            wrapper_class=structlog.make_filtering_bound_logger(level),
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
            cache_logger_on_first_use=False,
        )


def debugging() -> bool:
    """Whether ``LASTWORD_DEBUG`` asks for tracebacks."""
    return os.environ.get("LASTWORD_DEBUG", "") not in {"", "0"}


def resolve(tracker: RunTracker, fragment: str) -> RunId:
    """The run that a person means: by its id, or by a prefix or suffix of it that no other run has.

    Raises `RunNotFound`, `InvalidInput` with the candidates.
    """
    found = tracker.find(fragment)
    if not found:
        raise RunNotFound(fragment)
    if len(found) > 1:
        raise InvalidInput(
            f"run {fragment}: expected one run, found {len(found)} or more; say which:"
            f" {', '.join(str(run_id) for run_id in found)}"
        )
    return found[0]


def this_user() -> str | None:
    """The login name of the person or service that calls; None where there is none."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError, ImportError):
        return None
    return name if name.isprintable() and name.strip() else None


def remark(text: str) -> None:
    """A remark for people that is no data."""
    note(f"lastword: {text}")


def _file_of(settings: Settings) -> Path | None:
    """The store's file; None for another kind of store."""
    if settings.url is None:
        return default_path()
    path = sqlite_path(settings.url)
    return Path(path) if path and path != ":memory:" else None


def _dropped(logger: Any, name: str, event: Any) -> Any:
    import structlog

    raise structlog.DropEvent


def _without_traceback(logger: Any, name: str, event: Any) -> Any:
    event.pop("exc_info", None)
    return event

"""What a managed function sees of its run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import JsonValue

from ...domain.errors import CancelledByRequest
from ...domain.values import RunId, json_of
from ..logs import get_logger
from ..tracking.handle import RunHandle
from .endings import Message

if TYPE_CHECKING:
    from ..tracking.tracker import RunTracker

log = get_logger("lastword.context")

RESERVED = frozenset(
    {
        "run_id",
        "level",
        "message",
        "timestamp",
        "progress",
        "outcome",
        "complete",
        "db_status",
        "status_update_failed",
    }
)
"""Keys that mean something in a message; a field of such a name gets an underscore behind it."""

_LEVELS = {"debug": log.debug, "warning": log.warning, "error": log.error, "critical": log.critical}


class Listeners(Protocol):
    """Where messages go, and where requests come from."""

    @property
    def hears_requests(self) -> bool:
        """Whether cancellation requests of other processes arrive by themselves."""
        ...

    def publish(self, run_id: RunId, message: Message) -> None:
        """Send a message to the run's subscribers."""
        ...


class RunContext(RunHandle):
    """The first argument of a function that a `RunManager` runs. Nothing it does takes the function down, unless the tracker is strict.

    Messages to subscribers are JSON-ready. Each has ``run_id``, ``level``, ``message`` and ``timestamp`` (ISO 8601, UTC); `log` adds
    its fields, `progress` adds ``"progress": {"current": 3, "total": 10, "step": "extract"}``.
    """

    def __init__(self, tracker: RunTracker, run_id: RunId, listeners: Listeners) -> None:
        super().__init__(tracker, run_id)
        self._listeners = listeners
        self._lock = threading.Lock()
        self._asked: tuple[str | None, str | None] | None = None
        self._when_asked: Callable[[], object] | None = None

    def log(self, level: str, message: str, /, **fields: Any) -> None:
        """Tell the subscribers, and the log. `level` is ``debug``, ``info``, ``warning``, ``error`` or ``critical``; fields are JSON.

        A field that is not JSON is sent as its text. One that is called like a key of the signal gets another name: ``complete=True``
        arrives as ``"complete_": True``.
        """
        word = _text(level).lower()
        sent: Message = {
            f"{name}_" if name in RESERVED else name: _json(value) for name, value in fields.items()
        }
        self._listeners.publish(self.run_id, self._message(word, _text(message)) | sent)
        tell = _LEVELS.get(word, log.info)
        tell("lastword.run.message", run_id=self.run_id, message=_text(message), fields=sent)

    def progress(
        self,
        current: float,
        total: float | None = None,
        *,
        step: str | None = None,
        message: str | None = None,
    ) -> None:
        """Report how far the work is, in any unit. Subscribers get each report; the store gets one a second, and always the last."""
        amount = _text(current) if total is None else f"{_text(current)} of {_text(total)}"
        text = message or (amount if step is None else f"{_text(step)}: {amount}")
        told = {"current": _json(current), "total": _json(total), "step": _json(step)}
        self._listeners.publish(
            self.run_id, self._message("info", _text(text)) | {"progress": told}
        )
        super().progress(current, total, step=step, message=message)

    @property
    def cancelled(self) -> bool:
        """Whether somebody, in any process, asked the run to stop. Cheap: call it as often as you like."""
        if self._asked is not None:
            return True
        return not self._listeners.hears_requests and super().cancelled

    def raise_if_cancelled(self) -> None:
        """Leave the work when somebody asked for it. Raises `CancelledByRequest`; the run is recorded as cancelled."""
        if self.cancelled:
            reason = None if self._asked is None else self._asked[0]
            raise CancelledByRequest(reason or "cancellation requested")

    # -- for the manager

    @property
    def asked(self) -> tuple[str | None, str | None] | None:
        """Why, and by whom, the run was asked to stop, as far as that is known; None when it was not."""
        return self._asked

    def request_cancel(self, reason: str | None = None, actor: str | None = None) -> None:
        """Somebody asked the run to stop; the first one counts."""
        with self._lock:
            if self._asked is not None:
                return
            self._asked = (reason, actor)
            when_asked = self._when_asked
        if when_asked is not None:
            when_asked()

    def when_asked(self, action: Callable[[], object] | None) -> None:
        """Call this when somebody asks the run to stop; at once if that has happened."""
        with self._lock:
            self._when_asked = action
            now = self._asked is not None
        if now and action is not None:
            action()

    def _message(self, level: str, text: str) -> Message:
        return {
            "run_id": self.run_id,
            "level": level,
            "message": text,
            "timestamp": self._tracker.clock().isoformat(),
        }


def _json(value: object) -> JsonValue:
    try:
        return json_of(value, "field")
    except Exception:  # noqa: BLE001  # a strange object in a message is shown, or at least named
        return _text(value)


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001  # as above
        return f"a {type(value).__name__} that cannot be shown"

"""From what a piece of work did to the command that records it."""

from __future__ import annotations

import sys
import traceback
from datetime import datetime

from ...domain.commands import CancelRun, CompleteRun, FailRun
from ...domain.errors import CancelledByRequest, InvalidInput
from ...domain.redaction import sanitise, sanitise_traceback
from ...domain.values import MAX_PAYLOAD_BYTES, ErrorInfo, json_of

OutcomeCommand = CompleteRun | FailRun | CancelRun
"""A command that reports what the work did."""


def completed(result: object, *, now: datetime, limit: int = MAX_PAYLOAD_BYTES) -> CompleteRun:
    """Success with this result; a result that cannot be recorded is left out with a note, never the outcome.

    >>> from datetime import UTC
    >>> completed({1, 2}, now=datetime(2026, 1, 1, tzinfo=UTC)).note
    'result left out: expected plain JSON, found something else: Object of type set is not JSON serializable'
    """
    try:
        return CompleteRun(result=json_of(result, "result", limit), now=now)
    except InvalidInput as error:
        why = str(error).removeprefix("result: ")
    except Exception as error:  # noqa: BLE001  # whatever a strange object raises must not cost the outcome
        why = f"reading it raised {type(error).__name__}"
    return CompleteRun(note=sanitise(f"result left out: {why}"), now=now)


def cancelled(reason: str | None, *, actor: str | None = None, now: datetime) -> CancelRun:
    """Stopped because somebody asked for it; a reason that is too long is cut, the outcome is recorded."""
    return CancelRun(reason=None if reason is None else sanitise(str(reason)), actor=actor, now=now)


def failed(error: BaseException | str, *, now: datetime, with_traceback: bool = False) -> FailRun:
    """An error, sanitised."""
    return FailRun(error=error_info(error, with_traceback=with_traceback), now=now)


def error_info(error: BaseException | str, *, with_traceback: bool = False) -> ErrorInfo:
    """The error as it may be stored: sanitised and bounded. Never raises, also when `str(error)` does.

    >>> error_info(OSError("no such file: /home/ann/in.csv")).message
    'no such file: <path>'
    """
    if isinstance(error, str):
        return ErrorInfo(type="Error", message=sanitise(error))
    try:
        text = str(error)
    except BaseException as broken:  # noqa: BLE001  # an exception that cannot be printed is still a failure to record
        text = f"(its message cannot be shown: {type(broken).__name__})"
    trace = None
    if with_traceback:
        trace = sanitise_traceback("".join(traceback.format_exception(error)))
    return ErrorInfo(type=type(error).__name__[:200], message=sanitise(text), traceback=trace)


def task_was_cancelled(error: BaseException) -> bool:
    """Whether this is how asyncio ends a task. It takes long to import, and need not be: who has not, has no tasks.

    >>> task_was_cancelled(ValueError())
    False
    """
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and isinstance(error, asyncio.CancelledError)


def outcome_of(
    error: BaseException | None,
    result: object = None,
    *,
    now: datetime,
    limit: int = MAX_PAYLOAD_BYTES,
    with_traceback: bool = False,
) -> OutcomeCommand:
    """What to record for work that returned `result`, or raised `error`.

    A keyboard interrupt and a cancellation mean cancelled; `SystemExit` means completed for the codes None and 0, else failed.
    """
    match error:
        case None:
            return completed(result, now=now, limit=limit)
        case KeyboardInterrupt():
            return CancelRun(reason="interrupted from the keyboard", now=now)
        case CancelledByRequest():
            return CancelRun(reason=sanitise(str(error)) or None, now=now)
        case _ if task_was_cancelled(error):
            return CancelRun(reason="task cancelled", now=now)
        case SystemExit() if error.code in (None, 0):
            return completed(result, now=now, limit=limit)
        case SystemExit():
            return _exited(error.code, now)
        case _:
            return failed(error, now=now, with_traceback=with_traceback)


def _exited(code: object, now: datetime) -> FailRun:
    """An exit that was no success: a number, or a text for people, which counts as 1."""
    if not isinstance(code, int):
        info = error_info(SystemExit(code))
        return FailRun(error=info, exit_code=1, now=now)
    fits = -(2**63) <= code < 2**63
    text = f"exit code {code}" if fits else "an exit code that is too long to show"
    info = ErrorInfo(type="SystemExit", message=text)
    return FailRun(error=info, exit_code=code if fits else None, now=now)

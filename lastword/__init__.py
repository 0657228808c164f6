"""Lastword: an event-sourced run tracker. Every run gets a last word, or a flag that says it never had one.

>>> from lastword import RunTracker
>>> tracker = RunTracker("sqlite:///:memory:")
>>> with tracker.run("import", run_id=1) as run:
...     run.progress(10, 10)
>>> tracker.get(1).status
<RunStatus.COMPLETED: 'completed'>
>>> tracker.close()
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lastword.domain.errors import (
        CancelledByRequest,
        InvalidInput,
        InvalidTransition,
        LastwordError,
        RunAlreadyActive,
        RunAlreadyExists,
        RunNotFound,
        StoreCorrupt,
        StoreUnavailable,
        UnsupportedSchema,
        VersionConflict,
    )
    from lastword.domain.events import (
        CancellationRequested,
        Evidence,
        OutcomeContradicted,
        RecordedEvent,
        RunCancelled,
        RunCompleted,
        RunCreated,
        RunErased,
        RunEvent,
        RunFailed,
        RunLost,
        RunProgressed,
        RunsArchived,
        RunStarted,
    )
    from lastword.domain.status import FlagReason, RunStatus
    from lastword.domain.values import ErrorInfo, Owner
    from lastword.infrastructure.auditing.archiving import ArchiveReport
    from lastword.infrastructure.auditing.erasing import EraseReport
    from lastword.infrastructure.auditing.seal_files import Seal
    from lastword.infrastructure.exchange.migrating import MigrateReport, migrate
    from lastword.infrastructure.managing.asynchronous import AsyncRunManager
    from lastword.infrastructure.managing.manager import RunContext, RunManager
    from lastword.infrastructure.tracking.alerts import Failure
    from lastword.infrastructure.tracking.asynchronous import AsyncRunTracker
    from lastword.infrastructure.tracking.handle import RunHandle, current_run
    from lastword.infrastructure.tracking.reading import RunReader
    from lastword.infrastructure.tracking.receipts import Receipt
    from lastword.infrastructure.tracking.tracker import RunTracker
    from lastword.projections.completion import CompletionSignal
    from lastword.projections.flags import Flag
    from lastword.projections.history import StoreSnapshot
    from lastword.projections.importing import ImportReport
    from lastword.projections.problems import Problem
    from lastword.projections.queries import Page
    from lastword.projections.run_view import RunView
    from lastword.projections.verifying import SealCheck, VerifyReport

__all__ = [
    "ArchiveReport",
    "AsyncRunManager",
    "AsyncRunTracker",
    "CancellationRequested",
    "CancelledByRequest",
    "CompletionSignal",
    "EraseReport",
    "ErrorInfo",
    "Evidence",
    "Failure",
    "Flag",
    "FlagReason",
    "ImportReport",
    "InvalidInput",
    "InvalidTransition",
    "LastwordError",
    "MigrateReport",
    "OutcomeContradicted",
    "Owner",
    "Page",
    "Problem",
    "Receipt",
    "RecordedEvent",
    "RunAlreadyActive",
    "RunAlreadyExists",
    "RunCancelled",
    "RunCompleted",
    "RunContext",
    "RunCreated",
    "RunErased",
    "RunEvent",
    "RunFailed",
    "RunHandle",
    "RunLost",
    "RunManager",
    "RunNotFound",
    "RunProgressed",
    "RunReader",
    "RunStarted",
    "RunStatus",
    "RunTracker",
    "RunView",
    "RunsArchived",
    "Seal",
    "SealCheck",
    "StoreCorrupt",
    "StoreSnapshot",
    "StoreUnavailable",
    "UnsupportedSchema",
    "VerifyReport",
    "VersionConflict",
    "current_run",
    "migrate",
]

_HOMES = {
    "domain.errors": "CancelledByRequest InvalidInput InvalidTransition LastwordError RunAlreadyActive RunAlreadyExists RunNotFound StoreCorrupt StoreUnavailable UnsupportedSchema VersionConflict",
    "domain.events": "CancellationRequested Evidence OutcomeContradicted RecordedEvent RunCancelled RunCompleted RunCreated RunErased RunEvent RunFailed RunLost RunProgressed RunStarted RunsArchived",
    "domain.status": "FlagReason RunStatus",
    "domain.values": "ErrorInfo Owner",
    "infrastructure.tracking.alerts": "Failure",
    "infrastructure.auditing.archiving": "ArchiveReport",
    "infrastructure.auditing.erasing": "EraseReport",
    "infrastructure.tracking.asynchronous": "AsyncRunTracker",
    "infrastructure.tracking.handle": "RunHandle current_run",
    "infrastructure.tracking.receipts": "Receipt",
    "infrastructure.exchange.migrating": "MigrateReport migrate",
    "infrastructure.managing.asynchronous": "AsyncRunManager",
    "infrastructure.managing.manager": "RunContext RunManager",
    "infrastructure.tracking.reading": "RunReader",
    "infrastructure.auditing.seal_files": "Seal",
    "infrastructure.tracking.tracker": "RunTracker",
    "projections.completion": "CompletionSignal",
    "projections.flags": "Flag",
    "projections.history": "StoreSnapshot",
    "projections.importing": "ImportReport",
    "projections.problems": "Problem",
    "projections.queries": "Page",
    "projections.run_view": "RunView",
    "projections.verifying": "SealCheck VerifyReport",
}
"""Where each name is defined. It is imported when it is first asked for: pytest loads our plugin, and with it this package, at every start."""

_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

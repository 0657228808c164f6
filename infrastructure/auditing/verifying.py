"""The two halves of an audit: write a seal of the log, and compare log and rows with it later."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from itertools import chain
from pathlib import Path

from ...domain.errors import InvalidInput
from ...projections.ports import RunStore
from ...projections.verifying import VerifyReport, verify
from ..spooling.checking import leftovers
from .seal_files import Seal, read_seal, write_seal
from .sealing import Mark, check_store, compare
from .vouching import leaves_of, tombstones_of


def verified(
    store: RunStore,
    now: datetime,
    seal: Path | None = None,
    spool: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> VerifyReport:
    """What `RunTracker.verify` answers about a store, the seal in a file and what lies in the spool's folder."""
    sealed = None if seal is None else read_seal(seal)
    if sealed is not None:
        check_store(sealed.store_id, store.store_id(), f"seal {sealed.path.name}")
    total = sum(store.counts().values())
    archived, flaws = tombstones_of(store)
    report = verify(
        store.check(),
        None if progress is None else lambda done: progress(done, max(done, total)),
        chain(store.inspect(now), leftovers(spool), flaws),
    ).model_copy(update={"archived": archived})
    if sealed is None:
        return report
    check, problems = compare(sealed.log, leaves_of(store), sealed.path.name)
    return report.model_copy(update={"seal": check, "problems": (*problems, *report.problems)})


def sealed(store: RunStore, now: datetime, path: Path, after: Path | None = None) -> Seal:
    """What `RunTracker.seal` writes into a new file. Raises `InvalidInput` for an earlier seal that does not fit."""
    store_id, begin = store.store_id(), Mark()
    if after is not None:
        earlier = read_seal(after)
        check_store(earlier.store_id, store_id, f"seal {earlier.path.name}")
        begin, newest = earlier.end, store.last_position()
        if begin.position > newest:
            raise InvalidInput(
                f"seal {earlier.path.name}: expected one that is older than the store, which ends at position {newest},"
                f" found one that covers {begin.position}; `lastword verify --seal` says what is missing"
            )
    return write_seal(path, store_id, begin, leaves_of(store, begin.position), now)

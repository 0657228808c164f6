"""Owners that this server cannot see: workers in any language, known by what they say of themselves.

A worker over HTTP is judged by its lease alone: by its heartbeats, never by looking for its process. So it is given a namespace that
no process of this machine has; `owner_gone` is never said of it, `silent` is.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import uuid_utils

from ....domain.errors import InvalidInput
from ....domain.status import RunStatus
from ....domain.values import Owner, RunId, run_key, utc
from ....projections.run_view import RunView
from .bodies import OwnerBody

_VIA = "http"


def remote_owner(given: OwnerBody, client: str, run_id: RunId, now: datetime) -> Owner:
    """The owner to record for a worker that starts a run.

    A worker that says when its process started has one lease for all of its runs, as a Python process has. Any other has a
    lease for this run alone. Raises `InvalidInput` for a naive time.
    """
    if given.started_at is not None and (given.host is None or given.pid is None):
        raise InvalidInput(
            "owner: expected host and pid beside started_at, found it alone; give all three, or leave it out"
        )
    shared = given.started_at is not None
    facts: dict[str, Any] = {
        "host": given.host or client,
        "pid": given.pid or 0,
        "started_at": utc(given.started_at, "owner.started_at") if given.started_at else now,
        "namespace": _VIA if shared else f"{_VIA}:{run_key(run_id)}",
        "via": _VIA,
    }
    if given.pid is None:  # two of these that start one run at once are two workers
        facts["instance"] = uuid_utils.uuid7().hex
    return Owner.model_validate(facts)


def beats_over_http(owner: Owner) -> bool:
    """Whether this owner's heartbeats come over HTTP; any other renews its lease by itself."""
    return (owner.model_extra or {}).get("via") == _VIA


def is_repeat(view: RunView, given: OwnerBody, owner: Owner) -> bool:
    """Whether the run was started by this very worker: then its second request is a repeat of the first, whose answer got lost.

    A worker that does not say its pid cannot be told from another one on its host.
    """
    known = view.owner
    return (
        view.status is RunStatus.RUNNING
        and known is not None
        and given.pid is not None
        and given.started_at is None
        and (known.host, known.pid, known.namespace) == (owner.host, owner.pid, owner.namespace)
    )

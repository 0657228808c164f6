"""In what an event differs from the one that the store has under its id."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from lastword.domain.events import RunCompleted, RunFailed
from lastword.domain.values import ErrorInfo
from lastword.projections.importing import other_content
from lastword.testing import recorded

KNOWN = recorded(RunCompleted(result=1))[0]
LATER = KNOWN.occurred_at + timedelta(seconds=1)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"position": 9, "version": 9, "recorded_at": LATER}, None),
        ({"event_id": "f" * 32}, "id"),
        ({"event": RunFailed(error=ErrorInfo(type="E", message="m"))}, "type, data"),
        ({"event": RunCompleted(result=True)}, "data"),
        ({"occurred_at": LATER}, "time"),
        ({"run_id": str(KNOWN.run_id)}, "runidtype"),
        ({"actor": "api", "correlation_id": "req-1"}, "actor, correlationid"),
    ],
)
def test_each_difference_is_told_by_its_name_in_a_line(changes: dict[str, Any], names: str | None):
    """Where it stands in a store, and when that took it, is none."""
    assert names == other_content(KNOWN, KNOWN.model_copy(update=changes))

"""The columns of the table `runs`: their names, the kinds of their values, and how whole rows are selected."""

# ruff: noqa: S608  # statements are put together from names of our own
from __future__ import annotations

from functools import lru_cache

VIEW_COLUMNS = (
    "name",
    "status",
    "status_update_failed",
    "created_at",
    "started_at",
    "finished_at",
    "actor",
    "error_type",
    "error_message",
    "exit_code",
    "progress_current",
    "progress_total",
    "current_step",
    "cancel_requested_at",
    "last_seen_at",
    "deadline_at",
    "owner",
    "parent_id",
    "attempt",
    "retry_of",
    "exclusive",
    "lease_seconds",
    "tags",
    "params",
    "result",
    "note",
    "correlation_id",
    "contradicted",
    "version",
    "position",
)
"""The columns that are named as the view's fields: all but `run_id`, which lies in `run_key` and `int_id`, and `flag`."""

ROW_COLUMNS = ("number", "run_key", "int_id", *VIEW_COLUMNS)

SELECT_VIEW = f"""
SELECT {", ".join("o.owner" if column == "owner" else f"r.{column}" for column in ROW_COLUMNS)}, l.renewed_at
FROM runs r LEFT JOIN owners o ON o.id = r.owner LEFT JOIN leases l ON l.owner = o.key AND r.status = 'running'
"""
"""Rows for `view_of`; a WHERE or ORDER BY goes behind it. `r` is the run."""

SELECT_BARE_VIEW = f"""
SELECT {", ".join("o.owner" if column == "owner" else f"r.{column}" for column in ROW_COLUMNS)}, NULL
FROM runs r LEFT JOIN owners o ON o.id = r.owner
"""
"""The same without the lease."""

TIMES = (
    "created_at",
    "started_at",
    "finished_at",
    "cancel_requested_at",
    "last_seen_at",
    "deadline_at",
)
NUMBERS = ("progress_current", "progress_total", "parent_id", "retry_of")
TEXTS = (
    "name",
    "actor",
    "error_type",
    "error_message",
    "current_step",
    "exclusive",
    "note",
    "correlation_id",
)

_NONE = type(None)
_TEXT, _COUNT, _THERE = frozenset({str, _NONE}), frozenset({int, _NONE}), frozenset({int})
_KINDS: dict[str, frozenset[type]] = {
    **dict.fromkeys(ROW_COLUMNS, _TEXT),
    **dict.fromkeys(TIMES, _COUNT),
    **dict.fromkeys(("progress_current", "progress_total"), _COUNT | {float, bytes}),
    **dict.fromkeys(("parent_id", "retry_of"), _TEXT | {int, bytes}),
    **dict.fromkeys(("int_id", "exit_code"), _COUNT),
    **dict.fromkeys(("run_key", "name", "status"), frozenset({str})),
    **dict.fromkeys(("number", "status_update_failed", "created_at", "attempt"), _THERE),
    **dict.fromkeys(("contradicted", "version", "position"), _THERE),
    "lease_seconds": frozenset({float}),
}
"""What the values of a row are when it is as it was written."""


@lru_cache(maxsize=4096)
def is_plain(kinds: tuple[type, ...]) -> bool:
    """Whether a row of such values needs no validating. Asked once for each mixture, of which there are few."""
    return kinds[-1] in _COUNT and all(
        kind in _KINDS[column] for column, kind in zip(ROW_COLUMNS, kinds, strict=False)
    )

"""Examples for the OpenAPI document. A test holds them against the models."""

from __future__ import annotations

from typing import Any

_OWNER = {
    "host": "build-3",
    "pid": 4711,
    "started_at": "2026-02-05T22:00:00.250000Z",
    "boot_id": None,
    "namespace": "http",
}

RUN: dict[str, Any] = {
    "run_id": 17,
    "name": "import",
    "status": "running",
    "flag": None,
    "status_update_failed": False,
    "created_at": "2026-02-05T22:00:00Z",
    "started_at": "2026-02-05T22:00:00.250000Z",
    "finished_at": None,
    "actor": "cron",
    "error_type": None,
    "error_message": None,
    "exit_code": None,
    "progress_current": 3,
    "progress_total": 10,
    "current_step": "extract",
    "cancel_requested_at": None,
    "last_seen_at": "2026-02-05T22:00:10Z",
    "deadline_at": None,
    "owner": _OWNER,
    "parent_id": None,
    "attempt": 1,
    "retry_of": None,
    "exclusive": None,
    "lease_seconds": 60.0,
    "tags": {"team": "data"},
    "params": {"folder": "in"},
    "result": None,
    "note": None,
    "correlation_id": None,
    "contradicted": False,
    "version": 3,
    "position": 42,
}

EVENT: dict[str, Any] = {
    "run_id": 17,
    "version": 3,
    "position": 42,
    "event_id": "0198c1f2a3b47c5d8e9f0a1b2c3d4e5f",
    "type": "RunProgressed",
    "schema_version": 1,
    "event": {"current": 3, "total": 10, "step": "extract"},
    "occurred_at": "2026-02-05T22:00:10+00:00",
    "recorded_at": "2026-02-05T22:00:10.001000+00:00",
    "actor": None,
    "correlation_id": None,
}

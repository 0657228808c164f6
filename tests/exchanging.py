"""Exports for tests: lines as they stand in a file, written out, so that a test can bend them."""

from __future__ import annotations

import json
from typing import Any

SOURCE = "urn:uuid:0192f5a0-5f9e-7c31-8f4e-2f1f6f0f7a10"


def plain(*topics: str, run_id: str = "a", first: int = 1) -> list[bytes]:
    """Lines of one run with these events."""
    bodies: dict[str, Any] = {
        "RunCreated": {"name": "import"},
        "RunStarted": {
            "owner": {"host": "h", "pid": 1, "started_at": "2025-12-31T23:00:00Z"},
        },
        "RunCompleted": {"result": 1},
    }
    made = [
        {
            "specversion": "1.0",
            "id": f"{first + number:032x}",
            "source": SOURCE,
            "type": f"lastword.{topic}",
            "subject": run_id,
            "time": "2026-01-01T00:00:00Z",
            "datacontenttype": "application/json",
            "runidtype": "str",
            "runversion": number + 1,
            "position": first + number,
            "recordedat": "2026-01-01T00:00:01Z",
            "schemaversion": 1,
            "data": bodies[topic],
        }
        for number, topic in enumerate(topics)
    ]
    return [json.dumps(line).encode() + b"\n" for line in made]


LIFE = plain("RunCreated", "RunStarted", "RunCompleted")
OTHER = plain("RunCreated", run_id="b", first=20)


def changed(line: bytes, **fields: Any) -> bytes:
    """The line with other attributes; None takes one out."""
    data = json.loads(line) | fields
    kept = {name: value for name, value in data.items() if value is not None}
    return json.dumps(kept).encode() + b"\n"


LIFE = plain("RunCreated", "RunStarted", "RunCompleted")
OTHER = plain("RunCreated", run_id="b", first=20)

"""What many runs take on PostgreSQL: bytes by table and index, and how long questions, a rebuild and a verification take."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import psycopg
from contenders import NAME, RESULT
from report import Column, Row, Table

from lastword import RunTracker

_MANY = """
INSERT INTO events (position, originator_id, originator_version, topic, state, event_id, occurred_at, recorded_at, moved)
SELECT e.position + (r - 1) * 3 + 3, md5(r::text)::uuid::text, originator_version, topic, state, decode(md5(r::text || e.position), 'hex'),
    occurred_at + r::bigint * 1000000, recorded_at + r::bigint * 1000000, NULL
FROM generate_series(1, %s) AS r, (SELECT * FROM events WHERE position <= 3) AS e ORDER BY r, e.position
"""
"""The three events of one run, for as many runs a second apart, with ids as long as ours."""
_SIZES = """
SELECT c.relname, pg_relation_size(c.oid), coalesce(i.indrelid::regclass::text, '') FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_index i ON i.indexrelid = c.oid
WHERE n.nspname = 'size' AND c.relkind IN ('r', 'i') ORDER BY 2 DESC
"""


def fill(url: str, runs: int) -> None:
    """A store with so many finished runs, and a thousand active ones if there are more."""
    with RunTracker(f"{url}?schema=size") as tracker:
        tracker.start(tracker.create(NAME))
        tracker.complete(tracker.list()[0].run_id, result=RESULT)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET search_path TO size")
        connection.execute(
            "UPDATE events SET occurred_at = occurred_at - %s, recorded_at = recorded_at - %s",
            [runs * 1_000_000] * 2,
        )
        connection.execute(_MANY, (runs - 1,))
        connection.execute(
            "DELETE FROM events WHERE originator_version = 3 AND position > (SELECT max(position) - 3000 FROM events)"
        )
        connection.execute("SELECT setval('positions', (SELECT max(position) FROM events))")
        connection.execute("SELECT setval('moments', (SELECT max(recorded_at) FROM events))")
        connection.execute(
            "UPDATE meta SET value = (SELECT max(position) FROM events)::text WHERE key = 'counted'"
        )


def sizes(url: str, runs: int) -> Table:
    """Bytes a run, after all tables were vacuumed."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET search_path TO size")
        connection.execute("VACUUM ANALYZE")
        found = connection.execute(_SIZES).fetchall()
    table = Table(
        name="postgres-size",
        title=f"Room on PostgreSQL, {runs:,} runs of three events",
        columns=(Column("bytes", "bytes a run", ",.1f"), Column("megabytes", "MB", ",.1f")),
    )
    rows: list[Row] = [
        {"name": f"{name} (index)" if of else name, "bytes": size / runs, "megabytes": size / 1e6}
        for name, size, of in found
        if size / runs >= 0.5
    ]
    total = sum(size for _, size, _ in found)
    table.rows = [{"name": "all", "bytes": total / runs, "megabytes": total / 1e6}, *rows]
    return table


def times(url: str, runs: int, asked: int = 50) -> Table:
    """Of questions that are asked so many times, medians; and of the work that goes over all events."""
    table = Table(
        name="postgres-times",
        title=f"Questions and long work on PostgreSQL at {runs:,} runs, 1,000 of them active",
        columns=(Column("ms", "ms", ",.2f"), Column("per_second", "events a second")),
    )
    began = time.perf_counter()
    with RunTracker(f"{url}?schema=size") as tracker:
        rows = tracker.rebuild()
        spent = time.perf_counter() - began
        events = 3 * rows - 1000
        table.rows.append({"name": "rebuild", "ms": spent * 1000, "per_second": events / spent})
        began = time.perf_counter()
        report = tracker.verify()
        spent = time.perf_counter() - began
        if not report.ok:
            raise SystemExit(f"size: {report.problems[:3]}")
        table.rows.append(
            {"name": "verify", "ms": spent * 1000, "per_second": report.events / spent}
        )
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")
        some = tracker.list(limit=1)[0].run_id
        questions: dict[str, Callable[[], Any]] = {
            "get by id": lambda: tracker.get(some),
            "newest 50": lambda: tracker.list(limit=50),
            "newest 50 that failed": lambda: tracker.list(status="failed", limit=50),
            "newest 50 of a name and a status": lambda: tracker.list("completed", NAME, limit=50),
            "the 1,000 active ones, with flags": tracker.flagged,
            "counts by status": tracker.counts,
            "history of one": lambda: tracker.history(some),
        }
        for name, ask in questions.items():
            table.rows.append({"name": name, "ms": _median_ms(ask, asked)})
    return table


def _median_ms(ask: Callable[[], Any], times: int) -> float:
    ask()
    spent: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        ask()
        spent.append((time.perf_counter() - began) * 1000)
    return sorted(spent)[times // 2]

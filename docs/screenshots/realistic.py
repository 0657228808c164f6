"""A store as it could be on a working day: what the screenshots show. Fixed in every detail, clock included."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lastword import RunTracker
from lastword.domain.values import Owner

NOW = datetime(2026, 3, 4, 14, 20, 8, tzinfo=UTC)
"""The moment at which the pictures are taken."""

FLAGGED, LOST, FAILED, RUNNING, COMPLETED = 48121, 48087, 48116, 48122, 48119
"""Runs that are worth a look."""

_USUAL = (
    ("search-reindex", 30, 90, {"team": "search"}),
    ("thumbnails", 10, 40, {"team": "media"}),
    ("invoice-export", 45, 110, {"team": "finance"}),
    ("newsletter", 20, 100, {"team": "growth"}),
    ("sync-customers", 5, 30, {"team": "finance", "source": "crm"}),
)
_ERRORS = (
    "OperationalError: could not connect to server: Connection refused",
    "TimeoutError: the upstream did not answer within 30 s",
    "ValueError: row 1812 has no customer number",
)


class Clock:
    """Stands where it is put."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def ago(self, **span: float) -> None:
        """So long before the pictures are taken."""
        self.now = NOW - timedelta(**span)

    def wait(self, seconds: float) -> None:
        """Go on."""
        self.now += timedelta(seconds=seconds)


def fill(path: Path) -> RunTracker:
    """A tracker over a new store at the path, whose clock stands at `NOW`."""
    clock = Clock()
    tracker = RunTracker(path, clock=clock, progress_interval=0)
    _day(tracker, clock, random.Random(4))
    _today(tracker, clock)
    clock.now = NOW
    return tracker


def _day(tracker: RunTracker, clock: Clock, chance: random.Random) -> None:
    """What usually happens, and the hour in which the database was away."""
    number = 47_600
    for minute in range(24 * 60, 75, -3):
        hour = (NOW - timedelta(minutes=minute)).hour
        busy = 0.85 if 7 <= hour <= 19 else 0.4
        if chance.random() > busy:
            continue
        name, least, most, tags = chance.choice(_USUAL)
        number += 1
        clock.ago(minutes=minute - chance.random())
        tracker.create(name, run_id=number, actor="scheduler", tags=tags)
        clock.wait(chance.uniform(0.05, 2))
        tracker.start(number, owner=_owner(clock, 2200 + number % 7))
        clock.wait(chance.uniform(least, most))
        broken = 0.75 if hour == 3 else 0.04
        if chance.random() < broken:
            tracker.fail(number, chance.choice(_ERRORS[:1] if hour == 3 else _ERRORS))
        elif chance.random() < 0.02:
            tracker.cancel(number, reason="superseded", actor="scheduler")
        else:
            tracker.complete(number, result={"rows": chance.randrange(20, 9_000)})


def _today(tracker: RunTracker, clock: Clock) -> None:
    """The last hour, run by run; the newest is created last."""
    clock.ago(minutes=70)
    tracker.create("video-transcode", run_id=LOST, actor="upload-api", tags={"team": "media", "quality": "4k"})  # fmt: skip
    clock.wait(0.8)
    tracker.start(LOST, owner=_owner(clock, 31877, host="gpu-2"))
    clock.wait(220)
    tracker.progress(LOST, 31, 96, step="pass 1")
    clock.ago(minutes=41)
    tracker.create(
        "nightly-backup", run_id=FAILED, actor="cron", tags={"team": "platform"}, params={"databases": ["orders", "ledger"], "compress": "zstd"},
        retry_of=48102, attempt=2,
    )  # fmt: skip
    clock.wait(1.4)
    tracker.start(FAILED, owner=_owner(clock, 4410))
    for done, step, seconds in ((1, "dump orders", 96), (2, "dump ledger", 61), (3, "upload", 142)):
        clock.wait(seconds)
        tracker.progress(FAILED, done, 4, step=step)
    clock.wait(33)
    tracker.fail(FAILED, OSError("upload of ledger.zst: 507 Insufficient Storage; https://backup.internal/ledger.zst"))  # fmt: skip

    clock.ago(minutes=33)
    tracker.create("invoice-export", run_id=48117, actor="ada", tags={"team": "finance"})
    tracker.start(48117, owner=_owner(clock, 2203))
    clock.wait(48)
    tracker.request_cancel(48117, reason="wrong month", actor="ada")
    clock.wait(3)
    tracker.cancel(48117, reason="wrong month", actor="ada")

    clock.ago(minutes=27)
    tracker.create("sync-customers", run_id=48118, actor="scheduler", tags={"team": "finance", "source": "crm"})  # fmt: skip
    tracker.start(48118, owner=_owner(clock, 2204))
    clock.wait(11)
    tracker.complete(48118, result={"rows": 312})
    clock.wait(2)
    tracker.fail(48118, "TimeoutError: the acknowledgement came too late")

    clock.ago(minutes=22)
    tracker.sweep()

    clock.ago(minutes=19)
    tracker.create(
        "import-documents", run_id=COMPLETED, actor="api", tags={"team": "search", "tenant": "acme"}, params={"folder": "inbox/2026-03-04", "ocr": True}
    )  # fmt: skip
    clock.wait(0.6)
    tracker.start(COMPLETED, owner=_owner(clock, 2207))
    for done in range(60, 421, 60):
        clock.wait(29)
        tracker.progress(COMPLETED, done, 420, step="extract")
    clock.wait(7)
    tracker.complete(COMPLETED, result={"documents": 420, "pages": 3117})

    clock.ago(minutes=14)
    tracker.create("train-forecast", run_id=FLAGGED, actor="ml-nightly", tags={"team": "ml", "model": "demand"})  # fmt: skip
    clock.wait(2.2)
    tracker.start(FLAGGED, owner=_owner(clock, 27114, host="gpu-1"))
    for epoch in range(1, 8):
        clock.wait(51)
        tracker.progress(FLAGGED, epoch, 20, step=f"epoch {epoch}")

    clock.ago(minutes=3.6)
    tracker.create(
        "search-reindex", run_id=RUNNING, actor="deploy 9f2c1", tags={"team": "search", "index": "products"}, exclusive="reindex:products", deadline=timedelta(minutes=12),
    )  # fmt: skip
    clock.wait(1.1)
    tracker.start(RUNNING, owner=_owner(clock, 2206))
    for done in range(1, 6):
        clock.wait(32)
        tracker.progress(RUNNING, done * 41_200, 510_000, step="write segments")

    clock.ago(seconds=52)
    tracker.create("thumbnails", run_id=48123, actor="upload-api", tags={"team": "media"})
    clock.wait(0.4)
    tracker.start(48123, owner=_owner(clock, 2201))
    clock.wait(44)
    tracker.progress(48123, 64, 80, step="resize")
    clock.ago(seconds=4)
    tracker.create("newsletter", run_id=48124, actor="grace", tags={"team": "growth", "issue": "2026-09"})  # fmt: skip


def _owner(clock: Clock, pid: int, host: str = "worker-1") -> Owner:
    return Owner(host=host, pid=pid, started_at=clock.now - timedelta(hours=9, minutes=12))

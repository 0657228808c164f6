"""Large stores for measuring, made in a minute instead of an hour.

Events are encoded by the tracker's own mapper and put into the log in one transaction, in the order in which services would write them: at any
moment about 1,000 runs are under way. Then `rebuild` computes the rows, as it does for every store. A test compares a small one, value by
value, with a store that was written through a tracker.

    python benchmarks/stores.py FILE RUNS [plain|mixed]
"""

from __future__ import annotations

import argparse
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import UUID

from lastword.domain.events import (
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunEvent,
    RunFailed,
    RunStarted,
)
from lastword.domain.values import ErrorInfo, Owner, to_micros
from lastword.infrastructure.mapper import EVENT_COLUMNS, encode_event
from lastword.infrastructure.sqlite import SQLiteStore
from lastword.infrastructure.sqlite.datastore import ThreadDatastore
from lastword.infrastructure.sqlite.rebuilding import Rebuild

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
STEP = timedelta(milliseconds=100)
"""Between two events of the store."""
UNDER_WAY = 1000
"""Runs that have no last word, at the end of the log."""
NAMES = tuple(f"{what}-{where}" for what in ("import", "export", "train") for where in "abcde")
RARE_NAME = "yearly-audit"
"""One run in 10,000 has it."""
TEAMS = tuple(f"team-{number}" for number in range(20))
OWNERS = tuple(
    Owner(
        host=f"worker-{number}",
        pid=4711 + number,
        started_at=BEGIN,
        boot_id=str(UUID(int=number)),
        namespace="pid:[4026531836]",
    )
    for number in range(8)
)
_INSERT = f"INSERT INTO events ({', '.join(EVENT_COLUMNS)}) VALUES ({', '.join('?' * len(EVENT_COLUMNS))})"


@dataclass(frozen=True)
class Life:
    """What happens to one run."""

    run_id: str
    created: RunCreated
    started: RunStarted
    ended: RunEvent

    @property
    def events(self) -> tuple[RunEvent, RunEvent, RunEvent]:
        """In order."""
        return self.created, self.started, self.ended


def uuid7(number: int) -> str:
    """The id that a tracker would have given to the run: a time and random digits, the same for every store that is made."""
    millis = to_micros(BEGIN) // 1000 + number * 300
    digits = random.Random(number).getrandbits(74)
    return str(
        UUID(int=millis << 80 | 7 << 76 | (digits >> 62) << 64 | 2 << 62 | digits & (1 << 62) - 1)
    )


@lru_cache(maxsize=10_000)
def _created(name: str, tags: tuple[tuple[str, str], ...]) -> RunCreated:
    return RunCreated(name=name, tags=dict(tags))


_STARTED = tuple(RunStarted(owner=owner) for owner in OWNERS)
_COMPLETED = RunCompleted(result={"rows": 10})
_FAILED = RunFailed(error=ErrorInfo(type="ValueError", message="expected 3 columns, found 2"))
_CANCELLED = RunCancelled(reason="not needed any more", actor="cron")


def plain(number: int) -> Life:
    """The lifecycle that all benchmarks measure: a name, no tags, a small result."""
    started = _STARTED[number % len(_STARTED)]
    return Life(uuid7(number), _created("import", ()), started, _COMPLETED)


def mixed(number: int) -> Life:
    """Common and rare names, tags and outcomes: 5 % failed, 1 % cancelled, none of them in step with each other."""
    chance = random.Random(-number).random
    name = RARE_NAME if chance() < 0.0001 else NAMES[int(chance() ** 2 * len(NAMES))]
    tags = [("env", "prod" if chance() < 0.9 else "test"), ("team", TEAMS[int(chance() * 20)])]
    if chance() < 0.001:
        tags.append(("batch", str(number // 10_000)))
    drawn = chance()
    ended = _CANCELLED if drawn < 0.01 else _FAILED if drawn < 0.06 else _COMPLETED
    started = _STARTED[number % len(_STARTED)]
    return Life(uuid7(number), _created(name, tuple(tags)), started, ended)


KINDS = {"plain": plain, "mixed": mixed}


def log(runs: int, kind: str = "plain") -> Iterator[tuple[str, int, RunEvent]]:
    """Run, version and event, in the order of the store. Each run is created, started, and ended when 1,000 others have begun."""
    life = KINDS[kind]
    for number in range(runs):
        begun = life(number)
        yield begun.run_id, 1, begun.created
        yield begun.run_id, 2, begun.started
        if number >= UNDER_WAY:
            ending = life(number - UNDER_WAY)
            yield ending.run_id, 3, ending.ended


def stored(runs: int, kind: str = "plain") -> Iterator[tuple[Any, ...]]:
    """The same as values of `EVENT_COLUMNS`."""
    micros, step = to_micros(BEGIN), STEP // timedelta(microseconds=1)
    encoded: dict[int, tuple[RunEvent, bytes]] = {}  # most runs share their events
    for position, (run_id, version, event) in enumerate(log(runs, kind), start=1):
        known = encoded.get(id(event))
        if known is None:
            known = encoded[id(event)] = event, encode_event(event)
        state = known[1]
        at = micros + position * step
        actor = getattr(event, "actor", None)
        event_id = position.to_bytes(16, "big")
        yield (position, run_id, version, event.TOPIC, state, event_id, at, at, actor, None, None)


def build(path: Path, runs: int, kind: str = "plain") -> None:
    """A store of so many runs, all of which have ended but the last 1,000."""
    SQLiteStore(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute("PRAGMA synchronous = OFF")
        raw.execute("PRAGMA cache_size = -64000")
        raw.execute("BEGIN")
        raw.executemany(_INSERT, stored(runs, kind))
        raw.execute("COMMIT")
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with closing(ThreadDatastore(path, f"sqlite:///{path}")) as datastore:
        datastore.link().raw.execute("PRAGMA synchronous = OFF")
        Rebuild(datastore).run()
        datastore.link().raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def cached(folder: Path, runs: int, kind: str = "plain") -> Path:
    """The store of this size, made when the folder has none yet. It is shared: do not write to it."""
    path = folder / f"{kind}-{runs}.db"
    if not path.exists():
        unfinished = path.with_suffix(".part")
        build(unfinished, runs, kind)
        unfinished.rename(path)
    return path


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("runs", type=int)
    parser.add_argument("kind", choices=KINDS, nargs="?", default="plain")
    asked = parser.parse_args()
    build(asked.file, asked.runs, asked.kind)


if __name__ == "__main__":
    main()

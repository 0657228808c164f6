"""The parts that processes on one or several hosts play against a store that has a URL; run as ``python host_roles.py ROLE URL OPTIONS``.

Like `roles.py`: one JSON line for each answer, one line for each order.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from breaking.roles import tell, told, until_the_end
from faults.kit import wait_until
from lastword import Failure, RunManager, RunTracker, StoreUnavailable

Options = dict[str, Any]


def opened(url: str, options: Options, **more: Any) -> RunTracker:
    """A tracker with the settings among the options."""
    return RunTracker(url, **{"progress_interval": 0.0, **options.get("settings", {})}, **more)


class Log:
    """One JSON line for each thing that was acknowledged; written at once, so that it survives the process."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def write(self, *facts: object) -> None:
        """One line, in one piece."""
        os.write(self._file, json.dumps(facts).encode() + b"\n")


def writer(url: str, options: Options) -> None:
    """Live one life after the other until told to stop, in several threads; every fifth one under a manager, whose signals are counted.

    What counts as acknowledged goes into a log: the call has returned, and the event is in the store or fsynced in the spool.
    """
    failures: list[Failure] = []
    tracker = opened(url, options, on_alert=[failures.append])
    manager = RunManager(tracker)
    log, ended = Log(options["log"]), threading.Event()
    threading.Thread(target=lambda: (told(), ended.set()), daemon=True).start()
    tell("ready")
    with ThreadPoolExecutor(options["threads"]) as pool:
        lives = sum(
            pool.map(
                lambda thread: _live(tracker, manager, f"{options['name']}-{thread}", log, ended),
                range(options["threads"]),
            )
        )
    if not all(failure.kept for failure in failures):
        raise SystemExit(f"expected the spool to keep what the store does not take: {failures}")
    spooled = sum(len(failure.events) for failure in failures)
    wait_until(lambda: _delivered(tracker), 60)
    manager.shutdown()
    tracker.close()
    tell({"lives": lives, "spooled": spooled})


def _live(
    tracker: RunTracker, manager: RunManager, name: str, log: Log, ended: threading.Event
) -> int:
    """One life after the other, every fifth one under the manager; how many."""
    number = 0
    while number < 5 or not ended.is_set():
        run_id = f"{name}-{number}"
        number += 1
        if number % 5 == 0:
            _managed(manager, run_id, log)
        else:
            _bare(tracker, run_id, log)
    return number


def _bare(tracker: RunTracker, run_id: str, log: Log) -> None:
    tracker.create("import", run_id=run_id)
    log.write("event", run_id, "RunCreated")
    tracker.start(run_id)
    log.write("event", run_id, "RunStarted")
    tracker.complete(run_id, result={"rows": 10})
    log.write("event", run_id, "RunCompleted")


def _managed(manager: RunManager, run_id: str, log: Log) -> None:
    manager.start_run("import", lambda _context: {"rows": 10}, run_id=run_id)
    signals = [message for message in manager.messages(run_id) if "complete" in message]
    log.write("signals", run_id, signals)
    for event in ("RunCreated", "RunStarted", "RunCompleted"):
        log.write("event", run_id, event)


def _delivered(tracker: RunTracker) -> bool:
    """Whether nothing waits any more; the background thread of a tracker with runs would do the same."""
    try:
        tracker.deliver_spool()
        return not tracker.spool_status().events
    except StoreUnavailable:
        return False


def follower(url: str, options: Options) -> None:
    """Note the position of every event as it comes, until told how many events there are in all."""
    tracker = opened(url, options)
    log, total = Log(options["log"]), [-1]
    threading.Thread(target=lambda: total.append(int(told())), daemon=True).start()
    tell("ready")
    position = seen = 0
    while total[-1] < 0 or seen < total[-1]:
        events = tracker.store.read(position, 500)
        for recorded in events:
            log.write(recorded.position, recorded.event_id)
        seen += len(events)
        if events:
            position = events[-1].position
        else:
            tracker.store.wait(position, 0.5)
    tracker.close()
    tell({"seen": seen})


def host(url: str, options: Options) -> None:
    """A service on a host: runs jobs that last until told, cancels, and hears of everybody's ends."""
    failures: list[Failure] = []
    tracker = opened(url, options, on_alert=[failures.append])
    manager = RunManager(tracker)
    ends: dict[str, threading.Event] = {}
    tell("ready")
    while True:
        order, _, rest = told().partition(" ")
        if order == "run":
            ends[rest] = threading.Event()
            manager.start_run("import", _job(ends[rest]), run_id=rest)
            wait_until(lambda: tracker.get(rest).status == "running", 20)  # noqa: B023  # it is over before the next order
            tell("running")
        elif order == "end":
            ends[rest].set()
            tell("told")
        elif order == "cancel":
            manager.cancel_run(rest)
            tell("cancelled")
        elif order == "listen":  # a subscriber that may come from another host than the run
            tell([m for m in until_the_end(manager.register_subscriber(rest)) if "complete" in m])
        elif order == "status":
            view = tracker.get(rest)
            flag = None if view.flag is None else view.flag.reason.value
            tell([view.status.value, flag, view.status_update_failed])
        elif order == "flagged":  # once it is so
            wait_until(lambda: any(v.run_id == rest for v in tracker.flagged()), 60)  # noqa: B023  # it is over before the next order
            tell(tracker.get(rest).flag.reason.value)  # pyright: ignore[reportOptionalMemberAccess]  # it is flagged
        elif order == "sweep":
            tell([view.run_id for view in tracker.sweep()])
        elif order == "feed":
            tell([dict(signal) for _, signal in tracker.completions() if signal["run_id"] == rest])
        elif order == "waiting":
            tell(tracker.spool_status().events)
        elif order == "kept":  # once something is in the spool
            wait_until(lambda: bool(failures), 60)
            tell([failure.kept for failure in failures])
        elif order == "settled":  # once nothing waits any more
            wait_until(lambda: not tracker.spool_status().events, 60)
            tell("settled")
        else:
            raise SystemExit(f"an order that nobody knows: {order}")


def _job(end: threading.Event) -> Callable[[Any], dict[str, int]]:
    def job(context: Any) -> dict[str, int]:
        while not end.wait(0.02):
            context.raise_if_cancelled()
        return {"rows": 3}

    return job


ROLES: dict[str, Callable[[str, Options], None]] = {
    role.__name__: role for role in (writer, follower, host)
}

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    logging.disable(logging.CRITICAL)
    ROLES[sys.argv[1]](sys.argv[2], json.loads(sys.argv[3]))

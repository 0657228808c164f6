"""The parts that child processes play in tests of faults; run as ``python roles.py ROLE STORE OPTIONS``.

Each prints one JSON line for each answer, and takes one line for each order.
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import resource
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from queue import Queue
from time import monotonic
from typing import Any

from faults.kit import FaultyStore, wait_until
from lastword import Failure, RunManager, RunTracker
from lastword.infrastructure.clock import now_utc
from lastword.infrastructure.opening import open_store

Options = dict[str, Any]


def tell(answer: object) -> None:
    """One line, in one piece."""
    os.write(1, json.dumps(answer).encode() + b"\n")


def told() -> str:
    """The next order; the process ends when nobody gives any."""
    line = sys.stdin.readline()
    if not line:
        os._exit(0)
    return line.strip()


def opened(path: Path | None, options: Options, **more: Any) -> RunTracker:
    """A tracker with the settings among the options; for the store at the path, or for one that is given."""
    given = {"progress_interval": 0.0, **options.get("settings", {})}
    return RunTracker(path, **given, **more)


def become_ordinary() -> None:
    """Root may write what is read-only; without its capabilities it is a user like others. Only Linux has them."""
    if os.getuid() == 0:
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        nothing = (ctypes.c_uint32 * 6)()
        if ctypes.CDLL(None, use_errno=True).capset(header, nothing) != 0:
            raise OSError(ctypes.get_errno(), "capset")


def lifecycles(store: Path, options: Options) -> None:
    """Live one life after the other until killed; say so after each event that was acknowledged.

    With ``down`` the store refuses everything, so that the events go to the spool.
    """
    kept: list[Failure] = []
    prefix = f"{os.getpid()}-"
    faulty = FaultyStore(open_store(store))
    tracker = opened(None, options, store=faulty, on_alert=[kept.append])
    if options.get("down"):
        faulty.go_down()
    for number in range(1_000_000):
        run_id = f"{prefix}{number}"
        tracker.create("import", run_id=run_id)
        _acknowledge(run_id, "RunCreated", kept)
        tracker.start(run_id)
        _acknowledge(run_id, "RunStarted", kept)
        tracker.complete(run_id, result=number)
        _acknowledge(run_id, "RunCompleted", kept)


def _acknowledge(run_id: str, event: str, failures: list[Failure]) -> None:
    """What is in the store or safe in the spool counts as acknowledged."""
    if all(failure.kept for failure in failures):
        tell([run_id, event])
    failures.clear()


def nursery(store: Path, options: Options) -> None:
    """Fork a child for each order that plays `lifecycles`; saves the time to load everything anew."""
    with RunTracker("sqlite:///:memory:") as warm:  # loads what is loaded late
        warm.complete(_started(warm))
    tell("ready")
    while True:
        down = told() == "down"
        pid = os.fork()
        if pid == 0:
            lifecycles(store, {**options, "down": down})
        tell({"pid": pid})
        os.waitpid(pid, 0)
        tell({"ended": pid})


def away_for(tracker: RunTracker, leases: int) -> bool:
    """Whether the store has been away for so many leases."""
    since = tracker._outages.away_since
    return since is not None and now_utc() - since > leases * timedelta(
        seconds=tracker.settings.lease
    )


def _work() -> None:
    while True:
        sum(range(1000))


def _started(tracker: RunTracker) -> Any:
    return tracker.start(tracker.create("import")).run_id


def worker(store: Path, options: Options) -> None:
    """Own one run, beat for it, and do what is said."""
    failures: list[Failure] = []
    tracker = opened(store, options, on_alert=[failures.append])
    run_id = tracker.create("import", run_id=options.get("run_id", 1))
    tracker.start(run_id)
    tell("started")
    while True:
        order = told()
        if order == "complete":
            receipt = tracker.complete(run_id, result="done")
            tell({"stored": receipt.stored, "kept": [failure.kept for failure in failures]})
        elif order == "whole":
            with tracker.run("import", run_id="whole") as run:
                run.progress(1, 2, step="half")
                run.set_result({"rows": 2})
            tell({"kept": [failure.kept for failure in failures]})
        elif order == "beat":
            tracker.beat()
            tell("beaten")
        elif order == "busy":  # work that leaves the beat little room
            threading.Thread(target=_work, daemon=True).start()
            tell("busy")
        elif order == "deliver":
            tell(tracker.deliver_spool())
        elif order == "waiting":
            tell(tracker.spool_status().events)
        elif order == "outage":  # until the store has been away for three leases
            wait_until(functools.partial(away_for, tracker, 3), 60)
            tell("locked")
        elif order == "recovered":  # until a beat has got through again
            wait_until(lambda: tracker._outages.away_since is None, 60)
            tell([view.run_id for view in tracker.flagged()])
        elif order == "close":
            tracker.close()
            tell("closed")
        else:
            fault(order, store, tracker)


def managed(store: Path, options: Options) -> None:
    """Run a job under a manager for three subscribers; the job ends when told, and says what each of them was told."""
    failures: list[Failure] = []
    tracker = opened(store, options, on_alert=[failures.append])
    manager = RunManager(tracker)
    go = threading.Event()

    def job(_context: object) -> dict[str, int]:
        go.wait()
        return {"rows": 3}

    run_id = manager.start_run("import", job, run_id=1)
    queues = [manager.register_subscriber(run_id) for _ in range(3)]
    wait_until(lambda: tracker.get(run_id).status == "running")
    tell("running")
    while True:
        order = told()
        if order == "finish":
            began = monotonic()
            go.set()
            heard = [until_the_end(queue) for queue in queues]
            tell(
                {
                    "seconds": monotonic() - began,
                    "signals": [[m for m in messages if "complete" in m] for messages in heard],
                    "warnings": [sum(m.get("level") == "warning" for m in each) for each in heard],
                    "kept": [failure.kept for failure in failures],
                }
            )
        elif order == "late":
            tell([message for message in manager.messages(run_id) if "complete" in message])
        else:
            fault(order, store, tracker)


def until_the_end(queue: Queue[Any]) -> list[Any]:
    """All messages up to the signal, and any that should come behind it."""
    messages = [queue.get()]
    while "complete" not in messages[-1]:
        messages.append(queue.get())
    while not queue.empty():
        messages.append(queue.get_nowait())
    return messages


def fault(order: str, store: Path, tracker: RunTracker) -> None:
    """What a process can do to itself."""
    if order == "limit":  # no file may grow over the size of the log: a disk that is full
        size = Path(f"{store}-wal").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    elif order == "unlimit":
        endless = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.setrlimit(resource.RLIMIT_FSIZE, endless)
    elif order == "reconnect":
        datastore: Any = getattr(tracker.store, "_datastore", None)
        for link in [*datastore._links]:
            datastore.discard(link)
    tell(order)


def forgetter(store: Path, options: Options) -> None:
    """Spool an outcome, then fork a child that lives on and never touches the tracker."""
    faulty = FaultyStore(open_store(store))
    tracker = opened(None, options, store=faulty)
    tracker.start(tracker.create("import", run_id=1))
    faulty.go_down()
    tracker.complete(1)
    there, here = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(here, b"!")  # what runs in a child after a fork has run by now
    while pid == 0:
        told()
    os.read(there, 1)
    tell({"child": pid})
    told()


def deliverer(store: Path, options: Options) -> None:
    """Deliver the spool when told."""
    faulty = FaultyStore(open_store(store))
    faulty.go_down()  # so that opening does not deliver
    tracker = opened(None, options, store=faulty)
    faulty.come_back()
    tell("ready")
    told()
    tell(tracker.deliver_spool())
    told()


def sweeper(store: Path, options: Options) -> None:
    """Sweep when told; says which runs it declared lost."""
    tracker = opened(store, options)
    tell("ready")
    while told() == "sweep":
        tell([view.run_id for view in tracker.sweep()])


def full(store: Path, options: Options) -> None:
    """Keep events in a spool on a disk that becomes full, and go on."""
    failures: list[Failure] = []
    faulty = FaultyStore(open_store(store))
    tracker = opened(None, options, store=faulty, on_alert=[failures.append])
    tracker.start(tracker.create("import", run_id=1))
    faulty.go_down()
    tracker.progress(1, 1, message="x" * 1000)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, resource.RLIM_INFINITY))
    tracker.progress(1, 2, message="y" * 1000)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    tracker.complete(1, result="done")
    tell([failure.kept for failure in failures])
    told()


ROLES: dict[str, Callable[[Path, Options], None]] = {
    role.__name__: role
    for role in (lifecycles, nursery, worker, managed, forgetter, deliverer, sweeper, full)
}

if __name__ == "__main__":
    if json.loads(sys.argv[3]).pop("ordinary", False):
        become_ordinary()
    ROLES[sys.argv[1]](Path(sys.argv[2]), json.loads(sys.argv[3]))

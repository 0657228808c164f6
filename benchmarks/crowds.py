"""Several at once: threads of one process, or processes, that live lifecycles for a while and say how many they were.

For `harness.interleaved` the crowds of all contenders take turns, as single threads do.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from harness import Series


class Worker(Protocol):
    """What one thread does."""

    def lifecycle(self) -> None:
        """See `harness.Contender`."""
        ...

    def close(self) -> None:
        """See `harness.Contender`."""
        ...


class Crowd(Protocol):
    """Several workers that begin at once."""

    name: str

    def run(self, seconds: float) -> tuple[int, float]:
        """Lifecycles of all of them together, and how long it really took in seconds."""
        ...

    def close(self) -> None:
        """End the workers."""
        ...


class Threads:
    """Threads of this process, each with a worker of its own."""

    def __init__(self, name: str, workers: Sequence[Worker]) -> None:
        self.name = name
        self._workers = workers

    def run(self, seconds: float) -> tuple[int, float]:
        """See `Crowd`."""
        done = [0] * len(self._workers)
        failures: list[BaseException] = []
        ready = threading.Barrier(len(self._workers) + 1)

        def live(number: int, lifecycle: Callable[[], None]) -> None:
            ready.wait()
            ends = time.perf_counter() + seconds
            try:
                while time.perf_counter() < ends:
                    lifecycle()
                    done[number] += 1
            except BaseException as error:  # noqa: BLE001  # told by the thread that measures
                failures.append(error)

        threads = [
            threading.Thread(target=live, args=(number, worker.lifecycle))
            for number, worker in enumerate(self._workers)
        ]
        for thread in threads:
            thread.start()
        ready.wait()
        began = time.perf_counter()
        for thread in threads:
            thread.join()
        spent = time.perf_counter() - began
        if failures:
            raise failures[0]
        return sum(done), spent

    def close(self) -> None:
        """See `Crowd`."""
        for worker in self._workers:
            worker.close()


class Processes:
    """Processes that run a module here with these arguments; it calls `serve`."""

    def __init__(self, name: str, number: int, module: str, *arguments: str) -> None:
        self.name = name
        command = [sys.executable, str(Path(__file__).with_name(f"{module}.py")), *arguments]
        self._children = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(number)
        ]
        for child in self._children:
            _answer(child)  # everything is imported and connected

    def run(self, seconds: float) -> tuple[int, float]:
        """See `Crowd`."""
        began = time.perf_counter()
        for child in self._children:
            assert child.stdin is not None
            child.stdin.write(f"{seconds}\n")
            child.stdin.flush()
        done = sum(int(_answer(child)) for child in self._children)
        return done, time.perf_counter() - began

    def close(self) -> None:
        """See `Crowd`."""
        for child in self._children:
            assert child.stdin is not None
            child.stdin.close()
            child.wait(30)


def serve(worker: Worker) -> None:
    """A child's side: live for as many seconds as each line says, and answer with the number of lifecycles."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        ends = time.perf_counter() + float(line)
        done = 0
        while time.perf_counter() < ends:
            worker.lifecycle()
            done += 1
        sys.stdout.write(f"{done}\n")
        sys.stdout.flush()
    worker.close()


def in_turns(crowds: Sequence[Crowd], *, rounds: int, seconds: float) -> list[Series]:
    """See `harness.interleaved`."""
    series = [Series(crowd.name) for crowd in crowds]
    for crowd in crowds:
        crowd.run(min(0.2, seconds))
    for number in range(rounds):
        for offset in range(len(crowds)):
            turn = (number + offset) % len(crowds)
            done, spent = crowds[turn].run(seconds)
            series[turn].rates.append(max(done, 1) / spent)
            series[turn].lifecycles += done
    for crowd in crowds:
        crowd.close()
    return series


def _answer(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        raise RuntimeError(f"a child ended with {child.wait()}")
    return line

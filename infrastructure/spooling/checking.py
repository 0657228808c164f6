"""What lies in a spool folder that nobody is on the way to deliver."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ...domain.errors import StoreUnavailable, UnsupportedSchema
from ...projections.problems import Problem, ProblemKind
from .files import taken_over
from .format import Torn, parsed
from .spool import SUFFIX

_LOOK = {
    ".torn": "lines that were cut off while they were written; look at them, then remove the file",
    ".rejected": "events that can never be stored, as their id belongs to another run; look at them, then remove the file",
}
_DELIVER = (
    "`lastword deliver` tries again, and the log says what holds them back: a newer release wrote them, or the run"
    " is not in this store"
)


def leftovers(folder: Path | None) -> Iterator[Problem]:
    """Torn and rejected lines that were set aside, and pending events whose process is gone; nothing when there is no folder.

    What a living process keeps is its own business.
    """
    try:
        paths = sorted(folder.iterdir()) if folder is not None else []
    except FileNotFoundError:
        return
    except OSError as error:
        yield _problem(f"{folder}: expected to read the folder, found {error}", "check its rights")
        return
    for path in paths:
        try:
            if path.suffix in _LOOK:
                lines = sum(bool(line.strip()) for line in path.read_bytes().splitlines())
                yield _problem(
                    f"{path}: expected no such file, found {lines} lines", _LOOK[path.suffix]
                )
            elif path.suffix == SUFFIX:
                yield from _abandoned(path)
        except FileNotFoundError:
            continue  # delivered this very moment
        except OSError as error:
            yield _problem(f"{path}: expected to read it, found {error}", "check its rights")


def waiting_runs(folder: Path | None) -> set[str]:
    """The keys of all runs that have events in the folder, of living processes and of ended ones.

    Raises `StoreUnavailable` when a file cannot be read, and `UnsupportedSchema` when a newer release wrote it.
    """
    keys: set[str] = set()
    try:
        paths = sorted(folder.iterdir()) if folder is not None else []
        for path in paths:
            if path.suffix == SUFFIX:
                keys |= _runs_in(path)
    except FileNotFoundError:  # there is no folder
        return keys
    except OSError as error:
        raise StoreUnavailable(
            f"spool: expected to read which runs have events waiting there, found {error}; check its rights"
        ) from error
    return keys


def _runs_in(path: Path) -> set[str]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:  # delivered this very moment
        return set()
    return {str(item.run_id) for item in parsed(data) if not isinstance(item, Torn)}


def _abandoned(path: Path) -> Iterator[Problem]:
    with taken_over(path) as data:
        if data is None:  # its process lives
            return
        try:
            items = list(parsed(data))
        except UnsupportedSchema as error:
            yield _problem(f"{path}: {error}", _DELIVER)
            return
    torn = sum(isinstance(item, Torn) for item in items)
    also = f" and {torn} torn lines" if torn else ""
    yield _problem(
        f"{path}: expected its process to deliver it, found that it is gone and left {len(items) - torn} events{also}",
        _DELIVER,
    )


def _problem(what: str, remedy: str) -> Problem:
    return Problem(kind=ProblemKind.SPOOL, what=f"spool: {what}", remedy=remedy)

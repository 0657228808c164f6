"""The events of a store as lines of JSON, in the order of the store and as of one moment. One batch of events is in memory at a time."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from enum import StrEnum
from pathlib import Path

from ...domain.errors import InvalidInput, RunNotFound
from ...domain.events import RecordedEvent
from ...domain.values import RunId, shown
from ...projections.ports import RunStore, StoredRow
from ..mapper import recorded_event
from ..opening import sqlite_path
from .lines import LineWriter
from .redacting import redacted

SOURCE_PREFIX = "urn:uuid:"
"""Before a store's id, where a line says from which store it comes."""

_RUN = 1  # the column of a stored row that has the run's key; it is empty for what belongs to the store

Progress = Callable[[int, int], None]


class Format(StrEnum):
    """How an export is written."""

    CLOUDEVENTS = "cloudevents"
    """CloudEvents 1.0, with everything that is known; can be imported again."""
    OPENLINEAGE = "openlineage"
    """Run events of OpenLineage 2, for lineage tools."""


def format_of(value: str) -> Format:
    """The format with this name. Raises `InvalidInput`.

    >>> format_of("cloudevents")
    <Format.CLOUDEVENTS: 'cloudevents'>
    """
    try:
        return Format(value)
    except ValueError:
        raise InvalidInput(
            f"format: expected cloudevents or openlineage, found {shown(value)}"
        ) from None


def export_lines(
    store: RunStore,
    run_ids: Iterable[RunId] | None = None,
    *,
    redact: bool = False,
    progress: Progress | None = None,
) -> Iterator[bytes]:
    """Each event as a line of a CloudEvent, with its end of line: of all runs, or of these alone.

    `redact` takes out what people wrote. `progress` gets (position, last position). Raises `RunNotFound` before the first line, and
    `StoreCorrupt` or `UnsupportedSchema` for an event that cannot be read.

    >>> from lastword import RunTracker
    >>> with RunTracker("sqlite:///:memory:") as tracker:
    ...     _ = tracker.create("import", run_id=17)
    ...     lines = list(export_lines(tracker.store))
    >>> len(lines), lines[0][:20]
    (1, b'{"specversion":"1.0"')
    """
    lines = LineWriter(SOURCE_PREFIX + store.store_id())
    for row in _rows(store, run_ids, progress):
        yield lines.line(redacted(recorded_event(row))) if redact else lines.line_of_row(row)


def exported(
    store: RunStore,
    run_ids: Iterable[RunId] | None = None,
    *,
    redact: bool = False,
    progress: Progress | None = None,
) -> Iterator[RecordedEvent]:
    """The events themselves. See `export_lines`."""
    for row in _rows(store, run_ids, progress):
        recorded = recorded_event(row)
        yield redacted(recorded) if redact else recorded


def _rows(
    store: RunStore, run_ids: Iterable[RunId] | None, progress: Progress | None
) -> Iterator[StoredRow]:
    """What is exported, as it lies in the store: not what belongs to the store itself."""
    wanted = None if run_ids is None else _found(store, run_ids)
    last = store.last_position() if progress is not None else 0
    with closing(store.log(run_ids=wanted)) as batches:
        for batch in batches:
            for row in batch:
                if row[_RUN]:
                    yield row
            if progress is not None and batch:
                progress(batch[-1][0], max(last, batch[-1][0]))


def openlineage_export(
    store: RunStore,
    run_ids: Iterable[RunId] | None = None,
    *,
    namespace: str | None = None,
    redact: bool = False,
    progress: Progress | None = None,
) -> Iterator[bytes]:
    """Each event as a line of an OpenLineage run event. `namespace` is the job namespace. See `export_lines`."""
    from .openlineage import NAMESPACE, openlineage_lines

    def history(run_id: RunId) -> Sequence[RecordedEvent]:
        events = store.read_run(run_id)
        return [redacted(event) for event in events] if redact else events

    events = exported(store, run_ids, redact=redact, progress=progress)
    for line in openlineage_lines(events, namespace=namespace or NAMESPACE, history=history):
        yield line.encode()


def write_export(path: Path, lines: Iterable[bytes]) -> int:
    """Write the lines into a file and fsync it; how many there are. What was there before is replaced, by the whole export or not at all.

    Raises `InvalidInput` when the file cannot be written, and what `lines` raises.
    """
    written = 0
    path = path.resolve()
    if path.exists() and not path.is_file():  # a pipe or a device is written as it is
        try:
            with path.open("wb") as file:
                for line in lines:
                    file.write(line)
                    written += 1
        except OSError as error:
            raise _unwritable(path, error) from error
        return written
    try:
        handle, temporary = tempfile.mkstemp(
            prefix=f".{path.name}.", suffix=".part", dir=path.parent
        )
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        with open(handle, "wb", buffering=1 << 20) as file:  # noqa: PTH123  # a descriptor
            for line in lines:
                file.write(line)
                written += 1
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # noqa: PTH101  # a text
        Path(temporary).replace(path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _unwritable(path, error) from error
        raise
    return written


def check_elsewhere(path: Path, store_url: str, what: str) -> None:
    """Refuse the store's own file: opening that as a file would drop SQLite's locks. Raises `InvalidInput`."""
    own = sqlite_path(store_url)
    if own is not None and path.resolve() in {
        Path(own + suffix).resolve() for suffix in ("", "-wal", "-shm")
    }:
        raise InvalidInput(
            f"{what} {path.name}: expected a file of lines, found the store itself; name another file"
        )


def _found(store: RunStore, run_ids: Iterable[RunId]) -> list[RunId]:
    wanted = list(run_ids)
    for run_id in wanted:
        if store.view(run_id) is None:
            raise RunNotFound(run_id)
    return wanted


def _unwritable(path: Path, error: OSError) -> InvalidInput:
    return InvalidInput(
        f"export {path.name}: expected to write a file, found: {error.strerror or error} ({path});"
        " check the path and its rights"
    )


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask

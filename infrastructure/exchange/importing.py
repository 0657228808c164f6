"""Lines of CloudEvents into a store: the whole file or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from ...domain.errors import InvalidInput
from ...projections.importing import ImportReport, Placed
from ...projections.ports import RunStore
from .exporting import check_elsewhere
from .lines import read_lines

MAX_LINE_BYTES = 16 * 1024 * 1024
"""A longer line is no event: it is refused before all of it is in memory."""

Lines = Iterable[bytes]
"""E.g. a file that is opened for reading bytes."""


def import_lines(
    store: RunStore,
    lines: Lines,
    name: str,
    progress: Callable[[int], None] | None = None,
) -> ImportReport:
    """Take in what `export_lines` wrote. `name` is what messages call it; `progress` gets the number of events that were read.

    Nothing is written unless every line is fine and every history fits. Raises `InvalidInput` and `UnsupportedSchema`, which name line
    and field; `StoreUnavailable`.

    >>> from lastword import RunTracker
    >>> from lastword.infrastructure.exchange.exporting import export_lines
    >>> with RunTracker("sqlite:///:memory:") as here, RunTracker("sqlite:///:memory:") as there:
    ...     _ = here.create("import", run_id=17)
    ...     report = import_lines(there.store, export_lines(here.store), "runs.jsonl")
    ...     again = import_lines(there.store, export_lines(here.store), "runs.jsonl")
    ...     there.get(17).name, report.added, again.added
    ('import', 1, 0)
    """
    name = writable(name)
    return store.import_runs(_placed(bounded(lines, name), name), progress)


def import_file(
    store: RunStore, path: Path, progress: Callable[[int, int], None] | None = None
) -> ImportReport:
    """The same for a file; `progress` gets (bytes read, bytes in all). Raises `InvalidInput` also when it cannot be read."""
    with opened(path, store.url) as file:
        total = path.stat().st_size
        done = None if progress is None else lambda _: progress(min(file.tell(), total), total)
        return import_lines(store, file, path.name, done)


def writable(name: str) -> str:
    """The name of a file as text that can be written down; one that is not in UTF-8 cannot.

    >>> writable("runs.jsonl"), writable("caf\\udce9.jsonl")
    ('runs.jsonl', 'caf\\\\udce9.jsonl')
    """
    return name.encode(errors="backslashreplace").decode()


def opened(path: Path, store_url: str) -> BinaryIO:
    """The file, for reading. Raises `InvalidInput` when it cannot be read, or is the store's own."""
    check_elsewhere(path, store_url, "import")
    try:
        if path.is_dir():
            raise IsADirectoryError(21, "Is a directory")  # told like the others
        return path.open("rb")
    except OSError as error:
        raise InvalidInput(
            f"import {path.name}: expected a file to read, found: {error.strerror or error} ({path});"
            " check the path and its rights"
        ) from error


def bounded(lines: Lines, name: str) -> Iterator[bytes]:
    """The lines, none of them longer than `MAX_LINE_BYTES`; of a longer one no more than that is read.

    >>> list(bounded([b"x" * (MAX_LINE_BYTES + 1)], "a.jsonl"))
    Traceback (most recent call last):
    lastword.domain.errors.InvalidInput: a.jsonl, line 1: expected at most 16,777,216 bytes, found a longer line; this is no export
    """
    readline = getattr(lines, "readline", None)
    source = lines
    if readline is not None:
        source = iter(lambda: cast("bytes", readline(MAX_LINE_BYTES + 1)), b"")
    for number, line in enumerate(source, start=1):
        if len(line) > MAX_LINE_BYTES:
            raise InvalidInput(
                f"{name}, line {number}: expected at most {MAX_LINE_BYTES:,} bytes, found a longer line; this is no export"
            )
        yield line


def _placed(lines: Lines, name: str) -> Iterator[Placed]:
    empty = True
    for where, recorded in read_lines(lines, name):
        empty = False
        yield Placed(where, recorded)
    if empty:
        raise InvalidInput(
            f"{name}: expected at least one event, found none: the file is empty; export it again"
        )

"""What a tracker takes in from other stores."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ...projections.ports import RunStore

if TYPE_CHECKING:
    from ...projections.importing import ImportReport


class ImportingTracker:
    """The part of `RunTracker` that imports histories."""

    _store: RunStore

    def import_events(
        self,
        source: str | Path | Iterable[bytes],
        progress: Callable[[int, int], None] | None = None,
    ) -> ImportReport:
        """Take in the histories in a file that `export` wrote, or in its lines: all of them or none.

        A repeat adds nothing; a longer history extends the run that is there. Rules are not applied: what is recorded has happened. `progress`
        gets (bytes read, bytes in all) for a file, (events read, 0) for lines. Memory does not grow with the file.

        Raises `InvalidInput` and `UnsupportedSchema`, which name line and field, and `StoreUnavailable`; nothing is written then.

        >>> from lastword import RunTracker
        >>> with RunTracker("sqlite:///:memory:") as here, RunTracker("sqlite:///:memory:") as there:
        ...     run_id = here.create("import", run_id=17)
        ...     report = there.import_events(here.export())
        ...     report.new_runs, there.get(17).status.value
        (1, 'pending')
        """
        from .importing import import_file, import_lines

        if isinstance(source, str | Path):
            return import_file(self._store, Path(source), progress)
        counted = None if progress is None else lambda done: progress(done, 0)
        name = getattr(source, "name", None)  # of an open file
        return import_lines(self._store, source, str(name or "import"), counted)

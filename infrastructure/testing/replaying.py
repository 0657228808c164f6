"""Histories from a file, through today's code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ...domain.errors import InvalidInput, LastwordError
from ...domain.events import RecordedEvent, RunCreated
from ...domain.values import RunId, run_key
from ...projections.run_view import RunView, fold_view
from ..exchange.cloudevents import refuse
from ..exchange.lines import line_of, read_lines
from .golden import check_golden, write_golden

SAVED = "urn:lastword:saved-history"
"""The source of events that a test saved, as no store's id is at hand."""


class Replayed(dict[RunId, RunView]):
    """The view of each run, by its id in the type it was created with; ``views[17]`` and ``views["17"]`` find the same.

    `get` and ``in`` find it, too. An unknown run is a `KeyError` that says which runs there are.
    """

    def __init__(self, histories: Mapping[str, list[RecordedEvent]], name: str) -> None:
        self._histories = histories
        self._name = name
        views = (fold_view(history) for history in histories.values())
        super().__init__({view.run_id: view for view in views if view is not None})

    def history(self, run_id: RunId) -> list[RecordedEvent]:
        """What happened to the run, in order; the next step may be asked with ``given(*views.history(17))``. Raises `KeyError`."""
        return list(self._histories[run_key(self[run_id].run_id)])

    def get(self, key: Any, default: Any = None) -> Any:
        """The view of the run, or the default."""
        return self[key] if key in self else default  # noqa: SIM401  # it would call itself

    def __contains__(self, key: object) -> bool:
        return isinstance(key, int | str) and str(key) in self._histories

    def __missing__(self, key: RunId) -> RunView:
        history = self._histories.get(str(key))
        if history is None:
            known = ", ".join(map(str, list(self)[:20]))
            more = ", ..." if len(self) > 20 else ""
            raise KeyError(
                f"run {key}: expected to find it in {self._name}, which has {known}{more}"
            )
        return self[history[0].run_id]


def read_histories(path: Path) -> dict[str, list[RecordedEvent]]:
    """The events of each run in a file of JSON lines, by the run's key, in the order in which the runs first occur.

    Each history is whole and in order: versions 1, 2, 3, ...; the same line again is left aside. Rules are not applied: a history
    that they would not allow today is read all the same. Raises `InvalidInput`, which names line and field, `UnsupportedSchema`, `OSError`.
    """
    histories: dict[str, list[RecordedEvent]] = {}
    runs_by_event: dict[str, tuple[str, int]] = {}
    with path.open("rb") as file:
        for where, event in read_lines(file, path.name):
            key = run_key(event.run_id)
            history = histories.setdefault(key, [])
            if event.version <= len(history):
                _check_repeat(history[event.version - 1], event, where)
                continue
            _check_next(history, event, where)
            other = runs_by_event.setdefault(event.event_id, (key, event.version))
            if other != (key, event.version):
                refuse(
                    where,
                    "id",
                    f"expected a new one, found that of run {other[0]}, event {other[1]}",
                )
            history.append(event)
    if not histories:
        raise InvalidInput(f"{path.name}: expected at least one event, found an empty file")
    return histories


def save_history(path: Path | str, events: Iterable[RecordedEvent]) -> None:
    """Write events, e.g. of ``tracker.history(17)``, as the JSON lines that `replay` reads. Raises `InvalidInput`, `OSError`."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(b"".join(line_of(event, SAVED) for event in events))


def replay(path: Path | str, golden: Path | str | None = None) -> Replayed:
    """The view of each run in a file of JSON lines, computed by today's code.

    With `golden`, the outcome of every event is compared with that file. Raises `InvalidInput` and `UnsupportedSchema` for a file
    that cannot be read, `AssertionError` where the outcome differs, `OSError`.

    >>> import tempfile
    >>> from lastword.domain.events import RunCreated, RunFailed
    >>> from lastword.domain.values import ErrorInfo
    >>> from lastword.infrastructure.testing.histories import recorded
    >>> failed = RunFailed(error=ErrorInfo(type="ValueError", message="no rows"))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "failed.jsonl")
    ...     save_history(path, recorded(RunCreated(name="import"), failed, run_id=17))
    ...     replay(path)["17"].error_message
    'no rows'
    """
    __tracebackhide__ = True
    source = Path(path)
    histories = read_histories(source)
    if golden is not None:
        check_golden(Path(golden), histories, source)
    return Replayed(histories, source.name)


class Replayer:
    """`replay` for the tests of one folder: paths are looked for in `folders`, the first one that has it wins.

    With `update`, golden files are written instead of compared, and `written` is told of each that changed.
    """

    def __init__(
        self, folders: Iterable[Path], *, update: bool = False, written: Callable[[Path], None]
    ) -> None:
        self._folders = tuple(folders)
        self._update = update
        self._written = written

    def __call__(self, path: Path | str, golden: Path | str | None = None) -> Replayed:
        """See `replay`. Raises `FileNotFoundError` with the places that were looked at."""
        __tracebackhide__ = True
        source = self._find(path)
        if source is None:
            places = ", ".join(str(folder / path) for folder in dict.fromkeys(self._folders))
            raise FileNotFoundError(f"replay: expected a file of histories, found none at {places}")
        target = None
        if golden is not None:  # a new one goes where the histories were found
            base = next(folder for folder in self._folders if folder / path == source)
            target = self._find(golden) or base / golden
        try:
            if self._update and target and write_golden(target, read_histories(source)):
                self._written(target)
            return replay(source, target)
        except LastwordError as error:
            raise error.with_traceback(None) from None  # the test and the message say it all

    def _find(self, path: Path | str) -> Path | None:
        places = (folder / path for folder in self._folders)
        return next((place for place in places if place.exists()), None)


def _check_next(history: list[RecordedEvent], event: RecordedEvent, where: str) -> None:
    run, expected = f"run {event.run_id}", len(history) + 1
    if event.version != expected:
        refuse(
            where,
            "runversion",
            f"expected {expected} as the next event of {run}, found {event.version}: the events between are"
            " missing, or the lines are out of order; export it again",
        )
    if not history:
        if not isinstance(event.event, RunCreated):
            refuse(
                where,
                "type",
                f"expected RunCreated as the first event of {run}, found {event.type}",
            )
    elif type(event.run_id) is not type(history[0].run_id):
        kind = type(history[0].run_id).__name__
        refuse(where, "runidtype", f"expected {kind!r}, as in the first event of {run}")


def _check_repeat(known: RecordedEvent, event: RecordedEvent, where: str) -> None:
    """The same event twice is harmless; another one in its place is not."""
    if known == event:
        return
    fields = {
        "id": (known.event_id, event.event_id),
        "type": (known.type, event.type),
        "data": (known.event, event.event),
        "time": (known.occurred_at, event.occurred_at),
        "recordedat": (known.recorded_at, event.recorded_at),
        "position": (known.position, event.position),
        "runidtype": (type(known.run_id), type(event.run_id)),
        "actor": (known.actor, event.actor),
        "correlationid": (known.correlation_id, event.correlation_id),
    }
    differing = [name for name, (before, now) in fields.items() if before != now]
    refuse(
        where,
        ", ".join(differing),
        f"expected event {event.version} of run {event.run_id} as it stands in an earlier line, found another;"
        " one of them was changed, or the lines are out of order",
    )

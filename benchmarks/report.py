"""What a benchmark gives: tables with figures, and whether each target is met.

A section of `make bench` is a module with a `SECTION`; `bench.py` knows their names. A section measures and gives tables; printing,
JSON and pictures are the same for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table as RichTable

Row = dict[str, Any]
"""Figures by the key of their column; ``name`` says of what they are. A figure that was not taken is None or left out."""


@dataclass(frozen=True)
class Column:
    """One kind of figure."""

    key: str
    heading: str
    """With the unit."""
    form: str = ",.0f"
    """A format specification for numbers; text and None are shown as they are."""


@dataclass(frozen=True)
class Target:
    """What a figure should be."""

    what: str
    found: float | None
    """None: it could not be measured here."""
    limit: float
    sense: Literal["at least", "at most"] = "at least"
    gross: float | None = None
    """In a smoke run, only beyond this something is wrong; None: a smoke run says nothing about it."""

    def met(self, limit: float | None = None) -> bool:
        """Whether the figure is on the right side."""
        bound = self.limit if limit is None else limit
        if self.found is None:
            return False
        return self.found >= bound if self.sense == "at least" else self.found <= bound

    @property
    def grossly_missed(self) -> bool:
        """Whether it is so far off that something must be wrong."""
        return self.gross is not None and not self.met(self.gross)


@dataclass
class Table:
    """Some figures side by side, the floor among them."""

    name: str
    """Names the picture's file, e.g. ``reads``."""
    title: str
    columns: Sequence[Column]
    rows: list[Row] = field(default_factory=list[Row])
    targets: list[Target] = field(default_factory=list[Target])
    notes: list[str] = field(default_factory=list[str])
    drawn: Sequence[str] = ()
    """Keys of the columns that the picture shows, as bars; none: no picture."""
    logarithmic: bool = False
    """Whether the picture's axis is."""


@dataclass(frozen=True)
class Options:
    """How to measure."""

    smoke: bool = False
    """A few seconds for everything; only gross ratios count."""
    folder: Path = Path("/tmp")
    """An empty folder on a disk, for this section alone; what lies in it is removed afterwards."""
    cache: Path = Path("/tmp")
    """A folder that all sections of one run share, e.g. for large stores (`stores.py`)."""
    peers: Path | None = None
    """The interpreter of an environment that holds the peers; None: leave them out."""
    runs: int = 1_000_000
    """In the largest store."""


@dataclass(frozen=True)
class Section:
    """One part of `make bench`."""

    name: str
    about: str
    measure: Callable[[Options], Sequence[Table]]
    seconds: int
    """About how long it takes here, for people who choose."""


def show(console: Console, table: Table) -> None:
    """For people."""
    shown = RichTable(title=f"\n{table.title}", title_justify="left", title_style="bold")
    shown.add_column("")
    for column in table.columns:
        shown.add_column(column.heading, justify="right")
    for row in table.rows:
        shown.add_row(
            row["name"], *(_told(row.get(column.key), column.form) for column in table.columns)
        )
    console.print(shown)
    for note in table.notes:
        console.print(note, soft_wrap=True, markup=False)
    for target in table.targets:
        verdict = "[green]met[/green]" if target.met() else "[red]NOT MET[/red]"
        found = "nothing" if target.found is None else f"{target.found:,.4g}"
        console.print(
            f"{verdict}  {target.what}: {found}; {target.sense} {target.limit:,.4g}", soft_wrap=True
        )


def as_json(table: Table) -> dict[str, Any]:
    """JSON-ready, with the verdicts."""
    data = asdict(table)
    for told, target in zip(data["targets"], table.targets, strict=True):
        told["met"] = target.met()
    return data


def as_markdown(table: Table) -> str:
    """The table for a page."""
    lines = [
        "| " + " | ".join([table.title, *(column.heading for column in table.columns)]) + " |",
        "| --- |" + " ---: |" * len(table.columns),
    ]
    for row in table.rows:
        cells = (_told(row.get(column.key), column.form) for column in table.columns)
        lines.append("| " + " | ".join([row["name"], *cells]) + " |")
    return "\n".join(lines)


def _told(value: Any, form: str) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else format(value, form)

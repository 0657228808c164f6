"""A picture for a table: bars, as a small SVG that says the same on every machine that draws it."""

from __future__ import annotations

from pathlib import Path

from report import Table

_COLOURS = ("#4063d8", "#389826", "#cb3c33", "#9558b2")
_OWN = "Lastword"


def draw(table: Table, path: Path) -> None:
    """Write the picture; a table that names nothing to draw has none."""
    if not table.drawn:
        return
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    # No date and fixed ids: the same figures give the same file. Text stays text.
    mpl.rcParams.update({"svg.hashsalt": table.name, "svg.fonttype": "none", "font.size": 9})
    columns = [column for column in table.columns if column.key in table.drawn]
    names = [row["name"] for row in table.rows][::-1]
    thick = 0.8 / len(columns)
    height = 0.7 + 0.16 * len(names) * (1 + len(columns))
    figure, axes = plt.subplots(figsize=(7, height), layout="constrained")
    for number, column in enumerate(columns):
        values = [row.get(column.key) or 0 for row in table.rows][::-1]
        places = [place + 0.4 - thick * (number + 0.5) for place in range(len(names))]
        bars = axes.barh(
            places, values, thick, label=column.heading, color=_COLOURS[number % len(_COLOURS)]
        )
        told = [f"{value:{column.form}}" if value else "" for value in values]
        axes.bar_label(bars, told, padding=3, fontsize=8)
    axes.set_yticks(range(len(names)), names)
    for label in axes.get_yticklabels():
        label.set_fontweight("bold" if _OWN in label.get_text() else "normal")
    if table.logarithmic:
        axes.set_xscale("log")
    axes.margins(x=0.15, y=0.01)
    axes.spines[["top", "right"]].set_visible(False)
    if len(columns) > 1:
        axes.legend(frameon=False, fontsize=8)
    else:
        axes.set_xlabel(columns[0].heading)
    figure.suptitle(table.title, fontsize=9, x=0.01, ha="left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    plt.close(figure)

"""The log lines of the package, as they stand in its source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

from docs.pages import ROOT

LEVELS = ("debug", "info", "warning", "error", "critical")


class LogLine(NamedTuple):
    """One event name with what it carries, over all places that log it."""

    levels: frozenset[str]
    fields: frozenset[str]
    """Without the traceback that a line may have; ``**`` where a place passes on a mapping."""


def log_lines() -> dict[str, LogLine]:
    """Every event name that the package logs."""
    found: dict[str, LogLine] = {}
    for path in sorted((ROOT / "infrastructure").rglob("*.py")):
        for name, line in _lines_of(ast.parse(path.read_text(encoding="utf-8"))):
            known = found.get(name, LogLine(frozenset(), frozenset()))
            found[name] = LogLine(known.levels | line.levels, known.fields | line.fields)
    return found


def _lines_of(tree: ast.Module) -> Iterator[tuple[str, LogLine]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        first, called = node.args[0], node.func
        if not isinstance(first, ast.Constant) or not str(first.value).startswith("lastword."):
            continue
        if isinstance(called, ast.Attribute) and called.attr in LEVELS:
            level = called.attr
        elif isinstance(called, ast.Name) and called.id == "tell":
            level = "depends"
        else:
            continue
        fields = {keyword.arg or "**" for keyword in node.keywords} - {"exc_info"}
        yield str(first.value), LogLine(frozenset({level}), frozenset(fields))

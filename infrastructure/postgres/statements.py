"""Statements are written with ``?`` and bare names of tables, as all stores read them; here they become those of one schema."""

from __future__ import annotations

import re
from functools import lru_cache

_TABLE = re.compile(
    r"\b(FROM|JOIN|INTO|UPDATE|ONLY|TABLE) "
    r"(take|horizon|events|runs|run_tags|status_counts|owners|leases|outages|meta)\b(?!\.)"
)
_SEQUENCE = re.compile(r"'(positions|moments)'")
_HINTS = re.compile(r" (NOT INDEXED|INDEXED BY \w+)")
"""Which index SQLite should take; this planner knows by itself."""


@lru_cache(maxsize=1024)
def placed(statement: str, schema: str) -> bytes:
    """The statement for the driver.

    >>> placed("SELECT 1 FROM runs r WHERE run_key = ?", "jobs")
    b'SELECT 1 FROM "jobs".runs r WHERE run_key = %s'
    """
    text = _HINTS.sub("", statement).replace("CROSS JOIN runs r ON", "JOIN runs r ON")
    text = text.replace("CROSS JOIN events e ON", "JOIN events e ON")
    text = text.replace("%", "%%").replace("?", "%s")
    text = _SEQUENCE.sub(rf"""'"{schema}".\1'""", text)
    return _TABLE.sub(rf'\1 "{schema}".\2', text).encode()

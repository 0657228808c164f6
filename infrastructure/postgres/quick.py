"""Statements of the hot path, past the driver's cursors: what they cost is felt at each step of each run.

The driver looks at the type of every value, makes a cursor and describes its result. Here the statement says the types itself (``?::bigint``),
and the answer is at most one row, of texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from psycopg import DataError, generators
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus

from .connections import Link
from .statements import placed

_PREPARE_AFTER = 3
"""A statement is prepared once a connection has executed it so often."""


def one_row(
    link: Link, statement: str, values: Sequence[Any], schema: str, *, prepare: bool
) -> tuple[bytes, ...] | None:
    """The first row that the statement gives; None when it gives none. Raises the driver's errors.

    Each value is a str, int, bytes, float or None; nothing in the row is NULL.
    """
    server = link.pgconn
    given = [value if value is None or type(value) is bytes else _text(value) for value in values]
    binary = [type(value) is bytes for value in values]
    name = _name(link, statement, schema) if prepare else b""
    if name:
        server.send_query_prepared(name, given, binary)
    else:
        server.send_query_params(numbered(statement, schema), given, param_formats=binary)
    result = link.wait(generators.execute(server))[-1]
    if result.status != ExecStatus.TUPLES_OK:
        raise error_from_result(result)
    if not result.ntuples:
        return None
    return tuple(result.get_value(0, column) or b"" for column in range(result.nfields))


def _text(value: object) -> bytes:
    text = str(value).encode()
    if b"\0" in text:  # the server's library would end it there
        raise DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
    return text


def _name(link: Link, statement: str, schema: str) -> bytes:
    """Under which the connection has prepared the statement; empty when it is not worth it yet."""
    known = link.prepared.get(statement, 0)
    if isinstance(known, bytes):
        return known
    if known < _PREPARE_AFTER:
        link.prepared[statement] = known + 1
        return b""
    name = b"lastword_step_%d" % next(link.names)
    link.pgconn.send_prepare(name, numbered(statement, schema))
    result = link.wait(generators.execute(link.pgconn))[-1]
    if result.status != ExecStatus.COMMAND_OK:
        raise error_from_result(result)
    link.prepared[statement] = name
    return name


@lru_cache(maxsize=1024)
def numbered(statement: str, schema: str) -> bytes:
    """The statement as the server takes it.

    >>> numbered("SELECT ? FROM runs WHERE version = ?", "jobs")
    b'SELECT $1 FROM "jobs".runs WHERE version = $2'
    """
    first, *others = placed(statement, schema).replace(b"%%", b"%").split(b"%s")
    return first + b"".join(b"$%d%b" % (number, part) for number, part in enumerate(others, 1))

"""Statements of the hot path, past the driver's cursors: what they cost is felt at each step of each run.

The driver looks at the type of every value, makes a cursor and describes its result. Here the statement says the types itself (``?::bigint``, and
``?::bytea`` wherever bytes are meant), and the answer is at most one row, of texts.
"""

from __future__ import annotations

import contextlib
import re
from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from psycopg import DataError, Error, OperationalError, generators
from psycopg.abc import PQGen
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult

from .links import Link
from .statements import placed

_PREPARE_AFTER = 3
"""A statement is prepared once a connection has executed it so often."""

Row = tuple[bytes, ...]
Call = tuple[str, Sequence[Any]]
"""A statement and its values, each of which is a str, int, bytes, float or None."""
_Sending = tuple[bytes, bytes, list[bytes | None], list[bool]]
"""The name of a prepared statement, or its text, and the values."""


def one_row(
    link: Link,
    statement: str,
    values: Sequence[Any],
    schema: str,
    *,
    prepare: bool,
    meanwhile: Callable[[], object] | None = None,
) -> Row | None:
    """The first row that the statement gives; None when it gives none. Nothing in it may be NULL. Raises the driver's errors.

    `meanwhile` is called while the server is at work; it raises nothing.
    """
    _send(link.pgconn, *_sending(link, (statement, values), schema, prepare=prepare))
    if meanwhile is not None:
        meanwhile()
    return _first_row(link.answer())


def one_row_each(
    link: Link, calls: Sequence[Call], schema: str, *, prepare: bool
) -> list[Row | None]:
    """The same for several statements, in one round trip and one transaction. Raises the first error; then none of them did anything."""
    # All names first: what is prepared within the transaction would be gone with it.
    sendings = [_sending(link, call, schema, prepare=prepare) for call in calls]
    server = link.pgconn
    server.enter_pipeline_mode()
    try:
        for sending in sendings:
            _send(server, *sending)
        server.pipeline_sync()  # up to here it is one transaction; its commit answers this
        results = link.wait(_up_to_commit(server))
    finally:
        with contextlib.suppress(Error):  # then it is not used again
            server.exit_pipeline_mode()
    return list(map(_first_row, results))


def _up_to_commit(server: PGconn) -> PQGen[list[PGresult]]:
    """The last result of each statement, and behind them the error of the commit, if there was one."""
    found: list[PGresult] = []
    results = yield from generators.execute(server)
    while results and results[-1].status != ExecStatus.PIPELINE_SYNC:
        found.append(results[-1])
        results = yield from generators.fetch_many(server)
    if not results:
        deque(map(_first_row, found), maxlen=0)  # raises what the server said last, if it did
        raise OperationalError("the connection was lost before the commit was confirmed")
    return found


def _sending(link: Link, call: Call, schema: str, *, prepare: bool) -> _Sending:
    statement, values = call
    given = [_ENCODERS[type(value)](value) for value in values]
    name = _name(link, statement, schema) if prepare else b""
    return name, b"" if name else numbered(statement, schema), given, formats(statement)


def _send(
    server: PGconn, name: bytes, text: bytes, given: list[bytes | None], binary: list[bool]
) -> None:
    if name:
        server.send_query_prepared(name, given, binary)
    else:
        server.send_query_params(text, given, param_formats=binary)


def _first_row(result: PGresult) -> Row | None:
    if result.status != ExecStatus.TUPLES_OK:
        raise error_from_result(result)
    if not result.ntuples:
        return None
    return tuple([result.get_value(0, column) or b"" for column in range(result.nfields)])


def _text(value: object) -> bytes:
    text = str(value).encode()
    if b"\0" in text:  # the server's library would end it there
        raise DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
    return text


class _Encoders(dict[type, Callable[[Any], bytes | None]]):
    """By type, looked up rather than asked for one after the other: there are some twenty values in a step."""

    def __missing__(self, kind: type) -> Callable[[Any], bytes | None]:
        """Whatever else there is, such as what is derived from a text."""
        return _text


_ENCODERS = _Encoders({int: b"%d".__mod__, str: _text, bytes: bytes, type(None): {}.get})
"""That of None gives None."""


def _name(link: Link, statement: str, schema: str) -> bytes:
    """Under which the connection has prepared the statement; empty when it is not worth it yet."""
    known = link.prepared.get(statement, 0)
    if isinstance(known, bytes):
        return known
    if known < _PREPARE_AFTER:
        link.prepared[statement] = known + 1
        return b""
    text = numbered(statement, schema)
    # By what it says: where a pooler hands a connection on, nobody meets something else under the name.
    name = b"lastword_step_" + blake2b(text, digest_size=16).hexdigest().encode()
    link.pgconn.send_prepare(name, text)
    result = link.answer()
    if result.status != ExecStatus.COMMAND_OK:
        raise error_from_result(result)
    link.prepared[statement] = name
    return name


_PLACE = re.compile(r"\?(::bytea)?")


@lru_cache(maxsize=1024)
def formats(statement: str) -> list[bool]:
    """For each of its values, whether it is sent as it is rather than as a text.

    >>> formats("SELECT ?, ?::bytea")
    [False, True]
    """
    return [place.group(1) is not None for place in _PLACE.finditer(statement)]


@lru_cache(maxsize=1024)
def numbered(statement: str, schema: str) -> bytes:
    """The statement as the server takes it.

    >>> numbered("SELECT ? FROM runs WHERE version = ?", "jobs")
    b'SELECT $1 FROM "jobs".runs WHERE version = $2'
    """
    first, *others = placed(statement, schema).replace(b"%%", b"%").split(b"%s")
    return first + b"".join(b"$%d%b" % (number, part) for number, part in enumerate(others, 1))

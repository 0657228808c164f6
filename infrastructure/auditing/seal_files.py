"""Seals in files: one JSON object each, laid out in lines so that a long one can be written and read piece by piece.

The first line is the head, each line behind it holds the beginnings of up to 4,096 leaves at positions without a gap, and the last
line is the tail, with a checksum over all that stands before it. docs/reference/seal-format.md describes every field.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from ...domain.errors import InvalidInput, UnsupportedSchema
from .sealing import PREFIX_BYTES, Chain, Leaf, Mark, SealedLog

FORMAT = 1
"""Of the file."""
_KEY = "lastword_seal"
_LEAVES_PER_LINE = 4096
_CHECKSUM = b',"checksum":"'
_MAX_LINE = 1 << 20


@dataclass(frozen=True, slots=True)
class Seal:
    """A seal in a file.

    >>> Seal(Path("a.seal"), "id", None, Mark(), Mark(3, 3, bytes(32))).end.events
    3
    """

    path: Path
    store_id: str
    sealed_at: str | None
    """When it was made, ISO 8601 in UTC."""
    after: Mark
    """Where it begins: the end of the earlier seal that it builds on, or the beginning of the log."""
    end: Mark

    @property
    def log(self) -> SealedLog:
        """For `sealing.compare`. The leaves are read from the file when they are asked for."""
        return SealedLog(self.store_id, self.after, self.end, _prefixes(self.path))

    def as_json(self) -> dict[str, Any]:
        """JSON-ready: what it covers, without the leaves."""
        return {
            "file": str(self.path),
            "store_id": self.store_id,
            "sealed_at": self.sealed_at,
            **_mark_json(self.end),
            "after": _mark_json(self.after) if self.after.events else None,
        }


def write_seal(
    path: Path, store_id: str, after: Mark, found: Iterable[Leaf], now: datetime
) -> Seal:
    """Write a seal of the events behind a mark into a new file, and fsync it.

    Raises `InvalidInput` when there is such a file already, or none can be made.
    """
    chain, check = Chain(after), hashlib.sha256()
    head = {
        _KEY: FORMAT,
        "store_id": store_id,
        "sealed_at": now.isoformat(),
        "after": _mark_json(after) if after.events else None,
    }
    with _reported(path, "to write a new file"), path.open("xb") as file:
        try:

            def write(data: bytes) -> None:
                check.update(data)
                file.write(data)

            write(_dumped(head)[:-1] + b',"leaves":[\n')
            comma = b""
            for first, prefixes in _lines(found, chain):
                write(comma + _dumped([first, base64.b64encode(prefixes).decode()]))
                comma = b",\n"
            write(b"\n]," + _dumped(_mark_json(chain.mark))[1:-1])
            file.write(_CHECKSUM + check.hexdigest().encode() + b'"}\n')
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    return Seal(path, store_id, now.isoformat(), after, chain.mark)


def read_seal(path: Path) -> Seal:
    """The seal in a file, checked from end to end; its leaves stay there.

    Raises `InvalidInput` for a file that is no seal, is cut off, or was edited, and `UnsupportedSchema` for a newer format.
    """
    check = hashlib.sha256()
    before = b""
    with _reported(path, "to read a seal"), path.open("rb") as file:
        first = file.readline(_MAX_LINE)
        head = _head(path, first)
        check.update(first)
        while line := file.readline(_MAX_LINE):
            check.update(before)
            before = line
    last, found, checksum = before.rpartition(_CHECKSUM)
    if not found or not checksum.endswith(b'"}\n'):
        _refuse(path, "found that its end is missing; get a whole copy")
    check.update(last)
    if checksum != check.hexdigest().encode() + b'"}\n':
        _refuse(path, "found that it was edited or damaged; get the copy that was kept elsewhere")
    try:
        tail = json.loads(b"{" + last.removeprefix(b"],") + b"}")
        after = Mark() if head["after"] is None else _mark(head["after"])
        return Seal(path, head["store_id"], head.get("sealed_at"), after, _mark(tail))
    except (KeyError, TypeError, ValueError) as error:
        _refuse(path, f"found other fields ({type(error).__name__}: {error}); get the right file")


def _lines(found: Iterable[Leaf], chain: Chain) -> Iterator[tuple[int, bytes]]:
    """First position and joined prefixes of leaves at positions without a gap; the chain takes each."""
    first, prefixes = 0, bytearray()
    for leaf in found:
        full = len(prefixes) == _LEAVES_PER_LINE * PREFIX_BYTES
        if prefixes and (full or leaf.position != chain.mark.position + 1):
            yield first, bytes(prefixes)
            prefixes.clear()
        if not prefixes:
            first = leaf.position
        prefixes += leaf.digest[:PREFIX_BYTES]
        chain.add(leaf)
    if prefixes:
        yield first, bytes(prefixes)


def _prefixes(path: Path) -> Iterator[tuple[int, bytes]]:
    """Position and beginning of each leaf in a file that `read_seal` has checked."""
    with _reported(path, "to read a seal"), path.open("rb") as file:
        file.readline(_MAX_LINE)
        while (line := file.readline(_MAX_LINE)).startswith(b"["):
            try:
                position, text = json.loads(line.rstrip(b",\n"))
                data = base64.b64decode(text, validate=True)
            except (ValueError, TypeError, binascii.Error):
                _refuse(path, "found that it changed while it was read; get a whole copy")
            for offset in range(0, len(data), PREFIX_BYTES):
                yield position, data[offset : offset + PREFIX_BYTES]
                position += 1


def _head(path: Path, line: bytes) -> dict[str, Any]:
    try:
        head = json.loads(line.rstrip().removesuffix(b',"leaves":[') + b"}")
        version = head[_KEY]
    except (ValueError, KeyError, TypeError, RecursionError):
        _refuse(path, "found another file; name one that `lastword seal` wrote")
    if isinstance(version, int) and version > FORMAT:
        raise UnsupportedSchema(f"seal {path.name}", version, FORMAT)
    return head


def _mark(data: dict[str, Any]) -> Mark:
    digest = bytes.fromhex(data["digest"])
    if len(digest) != len(Mark().digest):
        raise ValueError(f"a digest of {len(digest)} bytes")
    return Mark(int(data["position"]), int(data["events"]), digest)


def _mark_json(mark: Mark) -> dict[str, Any]:
    return {"position": mark.position, "events": mark.events, "digest": mark.digest.hex()}


def _dumped(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _refuse(path: Path, found: str) -> NoReturn:
    raise InvalidInput(f"seal {path.name}: expected a seal as it was written, {found}")


@contextmanager
def _reported(path: Path, expected: str) -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        raise InvalidInput(
            f"seal {path.name}: expected {expected}, found one; a seal is never written over: choose another name"
        ) from None
    except OSError as error:
        raise InvalidInput(
            f"seal {path.name}: expected {expected}, found: {error.strerror or error} ({path}); check the path and its rights"
        ) from error

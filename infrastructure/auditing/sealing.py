"""Fingerprints of the log: is every event what it was, where it was, when it was sealed?

The *leaf* of an event is the SHA-256 of all that is stored of it. Leaves are chained in order of position: ``c(0)`` is 32 zero bytes,
``c(i) = SHA-256(c(i-1) + leaf(i))``. Whoever keeps the last link elsewhere notices any change, removal, insertion or reordering before it.
A seal also keeps the first 4 bytes of each leaf, so that the first position that differs can be named.

Events that were archived or erased on purpose are not there any more as they were. What recorded that keeps their leaves; with
these *vouched* leaves the chain can still be computed.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ...domain.errors import InvalidInput
from ...projections.ports import StoredRow
from ...projections.problems import Problem, ProblemKind
from ...projections.verifying import SealCheck

PREFIX_BYTES = 4
"""Of each leaf, in a seal."""
START = bytes(32)
"""The link before the first event."""

_INTEGER = struct.Struct(">cq").pack
_REAL = struct.Struct(">cd").pack
_LENGTH = struct.Struct(">cQ").pack
_RESTORE = "restore the log from a backup that agrees with the seal, and find out who changed it"


class Leaf(NamedTuple):
    """One event of the log, for the chain."""

    position: int
    digest: bytes
    """32 bytes."""
    vouched: bool = False
    """True when the digest comes from what recorded the archiving or erasure, not from the event."""


class Former(NamedTuple):
    """What an erased event was before."""

    run_key: str
    """The run that it belongs to, as text."""
    digest: bytes


NOTHING_ERASED: Mapping[int, Former] = {}


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a chain goes. The default is its beginning."""

    position: int = 0
    """Of the last event in it."""
    events: int = 0
    digest: bytes = START


class Chain:
    """Links of a chain, one leaf after the other.

    >>> chain = Chain()
    >>> chain.add(Leaf(1, leaf_of((1, "17", 1, "RunCreated", b"{}", None, 0, 0, None, None, 1))))
    >>> chain.mark.events, chain.mark.position, chain.mark.digest.hex()[:8]
    (1, 1, '...')
    """

    def __init__(self, begin: Mark | None = None) -> None:
        begin = begin or Mark()
        self._position, self._events, self._digest = begin.position, begin.events, begin.digest

    def add(self, leaf: Leaf) -> None:
        """One more event."""
        self._digest = hashlib.sha256(self._digest + leaf.digest).digest()
        self._position = leaf.position
        self._events += 1

    @property
    def mark(self) -> Mark:
        """How far it goes now."""
        return Mark(self._position, self._events, self._digest)


def leaf_of(row: StoredRow) -> bytes:
    """The SHA-256 over the stored columns of one event, each with its type, text and bytes with their length.

    >>> leaf_of((1, "17")) == leaf_of((1, b"17"))
    False
    """
    parts: list[bytes] = []
    for value in row:
        if value is None:
            parts.append(b"n")
        elif isinstance(value, int):
            parts.append(_INTEGER(b"i", value))
        elif isinstance(value, str):
            data = value.encode() if value.isascii() else value.encode("utf-8", "surrogateescape")
            parts += (_LENGTH(b"t", len(data)), data)
        elif isinstance(value, bytes):
            parts += (_LENGTH(b"b", len(value)), value)
        else:
            parts.append(_REAL(b"r", value))
    return hashlib.sha256(b"".join(parts)).digest()


def leaves(
    rows: Iterable[StoredRow],
    gone: Iterable[tuple[int, bytes]] = (),
    erased: Mapping[int, Former] = NOTHING_ERASED,
) -> Iterator[Leaf]:
    """The leaf of every event, in order: computed from the stored rows, or vouched.

    `gone` has position and leaf of each event that was archived, in order; one that is there all the same speaks for itself. `erased` has, by
    position, whose event was changed there, and the leaf that it had before.

    >>> [leaf.position for leaf in leaves([(1, "17"), (3, "17")], [(2, leaf_of((2, "17")))])]
    [1, 2, 3]
    """
    absent = iter(gone)
    waiting = next(absent, None)
    for row in rows:
        while waiting is not None and waiting[0] <= row[0]:
            if waiting[0] < row[0]:
                yield Leaf(*waiting, vouched=True)
            waiting = next(absent, None)
        former = erased.get(row[0])
        if former is not None and former.run_key == row[1]:
            yield Leaf(row[0], former.digest, vouched=True)
        else:
            yield Leaf(row[0], leaf_of(row))
    while waiting is not None:
        yield Leaf(*waiting, vouched=True)
        waiting = next(absent, None)


class SealedLog(NamedTuple):
    """What a seal says of the log."""

    store_id: str
    after: Mark
    """Where the seal begins: the end of an earlier seal, or the beginning of the log."""
    end: Mark
    prefixes: Iterable[tuple[int, bytes]]
    """Position and first bytes of the leaf of each event between the two."""


def check_store(sealed_store: str, store_id: str, where: str) -> None:
    """Refuse the seal of another store. Raises `InvalidInput`."""
    if sealed_store != store_id:
        raise InvalidInput(
            f"{where}: expected a seal of this store ({store_id}), found one of store {sealed_store};"
            " name the store that was sealed with --url, or another seal"
        )


def compare(
    sealed: SealedLog, found: Iterable[Leaf], where: str
) -> tuple[SealCheck, list[Problem]]:
    """Compare the whole log, from its first event on, with a seal. `where` names the seal in what is said. Streams."""
    chain, differences = Chain(), _Differences()
    own = iter(found)
    vouched = 0
    leaf = next(own, None)
    while leaf is not None and leaf.position <= sealed.after.position:
        vouched += leaf.vouched
        chain.add(leaf)
        leaf = next(own, None)
    if (chain.mark.events, chain.mark.digest) != (sealed.after.events, sealed.after.digest):
        return _earlier(sealed, chain.mark, vouched, where)
    for position, prefix in sealed.prefixes:
        while leaf is not None and leaf.position < position:
            differences.unexpected(leaf.position)
            leaf = next(own, None)
        if leaf is None or leaf.position > position:
            differences.missing(position)
            continue
        if leaf.digest[:PREFIX_BYTES] != prefix:
            differences.changed(position)
        vouched += leaf.vouched
        chain.add(leaf)
        leaf = next(own, None)
    if differences.first is None and chain.mark != sealed.end:
        # One in 2**32 changes keeps the first bytes of its leaf; the chain tells all the same.
        differences.changed(sealed.after.position + 1)
    check = differences.check(sealed.end, vouched)
    return check, [] if check.ok else [_problem(check, differences.what, where)]


def _earlier(
    sealed: SealedLog, found: Mark, vouched: int, where: str
) -> tuple[SealCheck, list[Problem]]:
    """The part that an earlier seal covers is not what it was; only that one can tell where."""
    before = sealed.after
    check = SealCheck(
        position=sealed.end.position,
        events=sealed.end.events,
        vouched=vouched,
        differs_at=1,
        missing=max(0, before.events - found.events),
        unexpected=max(0, found.events - before.events),
        changed=int(before.events == found.events),
    )
    what = (
        f"seal {where}: expected {before.events} events up to position {before.position} as the earlier seal has them,"
        f" found {found.events}, of which at least one differs"
    )
    remedy = "verify with the earlier seal to learn at which position"
    return check, [Problem(kind=ProblemKind.SEAL, what=what, remedy=remedy)]


class _Differences:
    """Counts them, and keeps the first."""

    def __init__(self) -> None:
        self.first: int | None = None
        self.what = ""
        self._counts = {"changed": 0, "missing": 0, "unexpected": 0}

    def changed(self, position: int) -> None:
        self._count("changed", position, "the event that was sealed, found another one")

    def missing(self, position: int) -> None:
        self._count("missing", position, "the event that was sealed, found none")

    def unexpected(self, position: int) -> None:
        self._count("unexpected", position, "no event, as when it was sealed, found one")

    def _count(self, kind: str, position: int, what: str) -> None:
        self._counts[kind] += 1
        if self.first is None or position < self.first:
            self.first, self.what = position, what

    def check(self, end: Mark, vouched: int) -> SealCheck:
        return SealCheck(
            position=end.position,
            events=end.events,
            vouched=vouched,
            differs_at=self.first,
            **self._counts,
        )


def _problem(check: SealCheck, what: str, where: str) -> Problem:
    counts = {"changed": check.changed, "missing": check.missing, "unexpected": check.unexpected}
    more = ", ".join(f"{number} {kind}" for kind, number in counts.items() if number)
    return Problem(
        kind=ProblemKind.SEAL,
        position=check.differs_at,
        what=f"seal {where}: position {check.differs_at}: expected {what} (in all: {more})",
        remedy=_RESTORE,
    )

"""What stays of events that are gone: the fingerprint of each, by position.

A seal proves that the log was not altered. Events that are archived or erased on purpose leave these fingerprints behind, in the event that
records it, so that the proof still holds for all others.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Self

from pydantic import BaseModel, ConfigDict

from .errors import StoreCorrupt

LEAF_BYTES = 32
"""A leaf is a SHA-256."""


class Leaves(BaseModel):
    """Leaves by position, in little room.

    >>> kept = Leaves.of([(4, bytes(32)), (5, bytes(32)), (9, bytes(32))])
    >>> kept.positions, len(kept), [position for position, _ in kept.pairs()]
    (((4, 5), (9, 9)), 3, [4, 5, 9])
    """

    model_config = ConfigDict(frozen=True, extra="allow", defer_build=True)

    positions: tuple[tuple[int, int], ...] = ()
    """Ranges of positions, first and last of each, in order."""
    digests: str = ""
    """The leaves in order of position, 32 bytes each, one behind the other in base64."""

    @classmethod
    def of(cls, pairs: Iterable[tuple[int, bytes]]) -> Self:
        """Of pairs of position and leaf, in order of position."""
        ranges: list[tuple[int, int]] = []
        digests = bytearray()
        for position, digest in pairs:
            if ranges and ranges[-1][1] == position - 1:
                ranges[-1] = ranges[-1][0], position
            else:
                ranges.append((position, position))
            digests += digest
        return cls(positions=tuple(ranges), digests=base64.b64encode(digests).decode())

    def pairs(self) -> Iterator[tuple[int, bytes]]:
        """Position and leaf of each. Raises `StoreCorrupt` when the two do not fit together."""
        try:
            digests = base64.b64decode(self.digests, validate=True)
        except (binascii.Error, ValueError):
            digests = b"?"
        if len(digests) != LEAF_BYTES * len(self):
            raise StoreCorrupt(
                f"leaves: expected {len(self)} leaves of {LEAF_BYTES} bytes in base64, found something else;"
                " restore the store from a backup"
            )
        places = chain.from_iterable(range(first, last + 1) for first, last in self.positions)
        for number, position in enumerate(places):
            yield position, digests[number * LEAF_BYTES : (number + 1) * LEAF_BYTES]

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self.positions)

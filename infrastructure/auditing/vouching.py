"""The leaves of the log when part of it was archived or erased: from what is there, and from what recorded that the rest is gone."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import chain

from ...domain.errors import StoreCorrupt, UnsupportedSchema
from ...domain.events import RecordedEvent, RunErased, RunsArchived
from ...projections.ports import RunStore
from ...projections.problems import Problem, ProblemKind, problem
from .sealing import Former, Leaf, leaves

_BATCH = 500

Pairs = Iterator[tuple[int, bytes]]
"""Position and leaf."""


def leaves_of(store: RunStore, after: int = 0) -> Iterator[Leaf]:
    """The leaf of every event behind a position, in order, also of those that were archived or erased. Streams."""
    rows = chain.from_iterable(store.log(after))
    first = next(
        rows, None
    )  # with it the log stands still; what is read behind it can only know more
    if first is None:
        return
    yield from leaves(chain((first,), rows), _archived(store, after), erased_leaves(store, after))


def tombstones_of(store: RunStore) -> tuple[int, list[Problem]]:
    """How many events were archived and are vouched for by tombstones alone; and what is wrong with tombstones."""
    archived = 0
    try:
        for _, tombstone in _tombstones(store, 0):
            archived += sum(1 for _ in tombstone.leaves.pairs())
    except UnsupportedSchema as error:
        return archived, [problem(ProblemKind.NEWER, f"archive: {error}")]
    except StoreCorrupt as error:
        return archived, [problem(ProblemKind.UNDECODABLE, f"archive: {error}")]
    return archived, []


def erased_leaves(store: RunStore, after: int = 0) -> dict[int, Former]:
    """What the events behind a position were before they were erased, by position. Events that came from another store say nothing here."""
    store_id, erased = store.store_id(), dict[int, Former]()
    position = after
    while batch := store.read(position, _BATCH, (RunErased.TOPIC,)):
        for recorded in batch:
            for place, leaf in _erasure(recorded, store_id):
                erased.setdefault(place, Former(str(recorded.run_id), leaf))
        position = batch[-1].position
    return erased


def _erasure(recorded: RecordedEvent, store_id: str) -> Pairs:
    event = recorded.event
    if isinstance(event, RunErased) and event.store_id == store_id:
        yield from event.leaves.pairs()


def _archived(store: RunStore, after: int) -> Pairs:
    """Position and leaf of all archived events, in order and each once; of the tombstones only those at hand are in memory."""
    begins = sorted(
        (tombstone.leaves.positions[0][0], position)
        for position, tombstone in _tombstones(store, after)
        if tombstone.leaves.positions
    )
    told = after
    for position, leaf in _merged(store, begins):
        if position > told:
            told = position
            yield position, leaf


def _merged(store: RunStore, begins: list[tuple[int, int]]) -> Pairs:
    """Merge by position; each tombstone is read when its first position is reached."""
    heap: list[tuple[int, int, bytes, Pairs]] = []
    begins.reverse()
    while heap or begins:
        while begins and (not heap or begins[-1][0] <= heap[0][0]):
            _, place = begins.pop()
            pairs = _read(store, place).leaves.pairs()
            _push(heap, place, pairs)
        position, place, leaf, pairs = heapq.heappop(heap)
        yield position, leaf
        _push(heap, place, pairs)


def _push(
    heap: list[tuple[int, int, bytes, Pairs]],
    place: int,
    pairs: Pairs,
) -> None:
    following = next(pairs, None)
    if following is not None:
        heapq.heappush(heap, (following[0], place, following[1], pairs))


def _read(store: RunStore, position: int) -> RunsArchived:
    (recorded,) = store.read(position - 1, 1)
    if recorded.position != position or not isinstance(recorded.event, RunsArchived):
        raise StoreCorrupt(
            f"position {position}: expected the record of an archiving, found {recorded.type};"
            " restore the store from a backup"
        )
    return recorded.event


def _tombstones(store: RunStore, after: int) -> Iterator[tuple[int, RunsArchived]]:
    for recorded in store.store_events(after):
        if isinstance(recorded.event, RunsArchived):
            yield recorded.position, recorded.event

"""What every store promises about histories of other stores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from threading import Event, Thread
from typing import Any

import pytest

from contracts.keeping import Behind
from contracts.kit import LONG, MovingClock, Writer, seen
from lastword.domain.errors import InvalidInput, LastwordError, StoreCorrupt
from lastword.domain.events import (
    RecordedEvent,
    RunCompleted,
    RunCreated,
    RunEvent,
    RunFailed,
    RunProgressed,
    RunStarted,
)
from lastword.domain.status import RunStatus
from lastword.domain.values import ErrorInfo, RunId
from lastword.infrastructure.mapper import recorded_event
from lastword.projections.importing import ImportReport, Placed
from lastword.projections.ports import RunStore
from lastword.projections.queries import RunQuery
from lastword.projections.run_view import fold_view
from lastword.projections.verifying import verify
from lastword.testing import OWNER, START, STEP, recorded

CREATED = RunCreated(name="import", tags={"team": "data"})
STARTED = RunStarted(owner=OWNER)
COMPLETED = RunCompleted(result={"rows": 10})
LIFE = (CREATED, STARTED, COMPLETED)
OTHER_ERROR = RunFailed(error=ErrorInfo(type="E", message="m"))


def history(*events: RunEvent, run_id: RunId = "a", first: int = 1) -> list[RecordedEvent]:
    """Events of one run in another store; `first` is the position of the first one there, and makes its event ids."""
    return [
        item.model_copy(
            update={
                "position": first + number,
                "event_id": f"{first + number:032x}",
                "recorded_at": item.recorded_at + first * STEP,
            }
        )
        for number, item in enumerate(recorded(*events, run_id=run_id))
    ]


def placed(*events: RecordedEvent) -> list[Placed]:
    """Each on a line of its own, counted from 1."""
    return [Placed(f"a.jsonl, line {number}", event) for number, event in enumerate(events, 1)]


def held(store: RunStore) -> list[RecordedEvent]:
    """Everything that the store holds."""
    return [recorded_event(row) for batch in store.log() for row in batch]


def content(events: Sequence[RecordedEvent]) -> list[dict[str, Any]]:
    """Without what belongs to the store."""
    return [event.model_dump(exclude={"position", "recorded_at"}) for event in events]


def sound(store: RunStore) -> bool:
    """Whether rows, counters, tags and the order of the log are what the events say."""
    return verify(store.scan(), beside=store.inspect(START)).ok


def altered(recorded: RecordedEvent, /, **fields: Any) -> RecordedEvent:
    return recorded.model_copy(update=fields)


HISTORY = history(*LIFE)
CREATION, START_OF_IT, END = HISTORY

BAD: dict[str, tuple[list[RecordedEvent], str]] = {
    "no beginning": ([START_OF_IT, END], "line 1, field runversion: expected 1 .* found 2"),
    "begins with something else": (
        history(STARTED, COMPLETED),
        "line 1, field type: expected RunCreated .* found RunStarted",
    ),
    "a gap": ([CREATION, END], "line 2, field runversion: expected 2 .* found 3"),
    "out of order": (
        [CREATION, END, START_OF_IT],
        "line 2, field runversion: expected version 3 of run a behind version 2, which stands in a.jsonl, line 3",
    ),
    "beginning behind": ([START_OF_IT, CREATION], "line 1, field runversion: .* a.jsonl, line 2"),
    "a repeat with another result": (
        [*HISTORY, altered(END, event=RunCompleted(result=11))],
        "line 4, field data: expected version 3 of run a as in a.jsonl, line 3",
    ),
    "a repeat with another event": (
        [*HISTORY, altered(END, event=OTHER_ERROR)],
        "line 4, field type, data: expected version 3",
    ),
    "a repeat with another id and time": (
        [*HISTORY, altered(END, event_id="f" * 32, occurred_at=START)],
        "line 4, field id, time: expected version 3",
    ),
    "a repeat by somebody else": (
        [*HISTORY, altered(END, actor="x", correlation_id="y")],
        "line 4, field actor, correlationid: expected version 3",
    ),
    "True for 1": (
        history(RunCreated(name="n", params={"a": 1}))
        + history(RunCreated(name="n", params={"a": True})),
        "line 2, field data: expected version 1",
    ),
    "the id of another run's event": (
        [*HISTORY, *history(CREATED, run_id="b")],
        "line 4, field id: expected one that no other event has, found that of run a, version 1",
    ),
    "another type of id": (
        [*history(CREATED, run_id="7"), *history(CREATED, STARTED, run_id=7)[1:]],
        "line 2, field runidtype: expected 'str' .* found 'int'",
    ),
    "two active runs with one exclusive key": (
        [
            *history(RunCreated(name="n", exclusive="k"), run_id="one"),
            *history(RunCreated(name="n", exclusive="k"), STARTED, run_id="two", first=8),
        ],
        "line 2, field data.exclusive: .* exclusive key 'k', found that run one holds it",
    ),
    "a number that is none": (
        history(RunCreated(name="n", lease_seconds=float("nan"))),
        "line 1, field data: expected facts of run a that the store can hold",
    ),
    "a number that is too large": (
        history(RunCreated(name="n", attempt=10**30)),
        "line 1, field data: expected facts of run a that the store can hold",
    ),
}


class Importing:
    """Histories of other stores are taken in: all or nothing, and once."""

    def test_an_empty_store_becomes_the_other_one(self, store: RunStore, clock: MovingClock):
        """Also what the other store knew when, and which positions follow each other."""
        clock.advance(3600)
        others = [
            *history(CREATED, STARTED),
            *history(*LIFE, run_id=7, first=3),
            *history(*LIFE)[2:],
        ]
        others[-1] = altered(others[-1], event_id="e" * 32)
        report = store.import_runs(placed(*others))
        assert ImportReport(events=6, runs=2, added=6, new_runs=2) == report
        assert content(others) == content(held(store))
        assert [1, 2, 3, 4, 5, 6] == [event.position for event in held(store)]
        assert [event.recorded_at for event in others[:5]] == [
            event.recorded_at for event in held(store)[:5]
        ]
        assert others[4].recorded_at == held(store)[5].recorded_at  # it never goes back
        assert store.counts()[RunStatus.COMPLETED] == 2
        assert sound(store)

    def test_what_is_recorded_in_the_future_is_recorded_now(
        self, store: RunStore, clock: MovingClock
    ):
        """The other store's clock may be ahead; what is appended here next is not."""
        clock.advance(-10)
        store.import_runs(placed(*HISTORY))
        assert [clock.now] * 3 == [event.recorded_at for event in held(store)]

    def test_a_store_with_events_takes_others_now(self, store: RunStore, clock: MovingClock):
        """It learns of them now, behind its own events, and not before the newest of them was taken."""
        Writer(store).start("mine")
        newest = held(store)[-1]
        clock.advance(-5)
        store.import_runs(placed(*HISTORY))
        behind = held(store)[2:]
        assert content(HISTORY) == content(behind)
        assert [newest.recorded_at] * 3 == [event.recorded_at for event in behind]
        assert all(event.position > newest.position for event in behind)
        clock.advance(60)
        store.import_runs(placed(*history(*LIFE, run_id="b", first=50)))
        assert clock.now == held(store)[-1].recorded_at
        assert sound(store)

    def test_a_repeat_adds_nothing(self, store: RunStore):
        """Neither the same file again, nor a line that stands in it twice."""
        store.import_runs(placed(*HISTORY))
        before = held(store)
        assert ImportReport(events=3, runs=1) == store.import_runs(placed(*HISTORY))
        doubled = placed(*HISTORY, CREATION, END, *history(CREATED, run_id="b", first=9))
        report = store.import_runs(doubled)
        assert ImportReport(events=6, runs=2, added=1, new_runs=1) == report
        assert before == held(store)[:-1]

    def test_a_longer_history_extends_the_shorter_one(self, store: RunStore):
        """In its row, its counter and its tags, too; a shorter one changes nothing."""
        store.import_runs(placed(*HISTORY[:1]))
        Writer(store).start("mine")
        report = store.import_runs(placed(*HISTORY))
        assert ImportReport(events=3, runs=1, added=2, extended_runs=1) == report
        assert ImportReport(events=2, runs=1) == store.import_runs(placed(*HISTORY[:2]))
        view = seen(store.view("a"))
        assert fold_view(store.read_run("a")) == view
        assert RunStatus.COMPLETED is view.status
        assert ["a"] == [found.run_id for found in store.query(RunQuery(tags={"team": "data"}))]
        assert sound(store)

    def test_an_imported_run_goes_on(self, store: RunStore):
        """As if it had begun here."""
        store.import_runs(placed(*HISTORY[:2]))
        writer = Writer(store)
        writer.views["a"] = seen(store.view("a"))
        assert 3 == writer.add("a", COMPLETED).view.version
        assert sound(store)

    def test_rules_are_not_applied(self, store: RunStore):
        """A history that today's rules would not allow happened all the same."""
        odd = history(
            CREATED,
            COMPLETED,
            STARTED,
            RunProgressed(current=float("inf")),
            CREATED,
            OTHER_ERROR,
            COMPLETED,
        )
        store.import_runs(placed(*odd))
        assert content(odd) == content(store.read_run("a"))
        assert sound(store)

    @pytest.mark.parametrize(("events", "message"), BAD.values(), ids=BAD)
    @pytest.mark.parametrize("empty", [True, False])
    def test_what_does_not_fit_is_named(
        self, store: RunStore, events: list[RecordedEvent], message: str, empty: bool
    ):
        """With its place and its field; and nothing of the file is taken, also not what is fine."""
        if not empty:
            Writer(store).start("mine")
        before = held(store), store.counts()
        with pytest.raises(InvalidInput, match=message):
            store.import_runs(placed(*events))
        assert before == (held(store), store.counts())
        store.import_runs(placed(*HISTORY))
        assert sound(store)

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"event": RunCreated(name="other")}, "data"),
            ({"event_id": "d" * 32}, "id"),
            ({"occurred_at": START - STEP}, "time"),
            ({"actor": "somebody"}, "actor"),
        ],
    )
    def test_another_history_of_a_run_that_is_there_is_refused(
        self, store: RunStore, change: dict[str, Any], field: str
    ):
        """The store's own stands; the first line that differs is named."""
        store.import_runs(placed(*HISTORY[:2]))
        before = held(store)
        other = [altered(CREATION, **change), *HISTORY[1:]]
        with pytest.raises(
            InvalidInput,
            match=f"line 1, field {field}: expected version 1 of run a as the store has it",
        ):
            store.import_runs(placed(*other))
        assert before == held(store)

    def test_the_id_of_an_event_that_is_there_is_refused(self, store: RunStore):
        """An event is in one place."""
        store.import_runs(placed(*HISTORY))
        copy = [altered(event, run_id="copy") for event in HISTORY]
        with pytest.raises(
            InvalidInput, match=r"line 1, field id: .* found that of run a, version 1"
        ):
            store.import_runs(placed(*copy))

    def test_an_exclusive_key_that_is_held_is_refused(self, store: RunStore):
        """It names the run that holds it; once that has ended, all is well."""
        writer = Writer(store)
        writer.start("mine", exclusive="k")
        wanting = history(RunCreated(name="n", exclusive="k"), STARTED)
        with pytest.raises(
            InvalidInput,
            match=r"line 1, field data.exclusive: .* 'k', found that run mine holds it; wait .* leave run a out",
        ):
            store.import_runs(placed(*wanting))
        ended = history(
            RunCreated(name="n", exclusive="k"), STARTED, COMPLETED, run_id="b", first=9
        )
        assert 1 == store.import_runs(placed(*ended)).new_runs
        writer.add("mine", COMPLETED)
        assert 1 == store.import_runs(placed(*wanting)).new_runs
        assert sound(store)

    def test_a_key_may_pass_from_run_to_run_in_one_import(self, store: RunStore):
        """The run that held it here has ended in the file."""
        one = history(RunCreated(name="n", exclusive="k"), STARTED, COMPLETED, run_id="one")
        two = history(RunCreated(name="n", exclusive="k"), run_id="two", first=9)
        store.import_runs(placed(*one[:2]))
        report = store.import_runs(placed(*two, *one))
        assert (1, 1) == (report.new_runs, report.extended_runs)
        assert sound(store)

    def test_an_older_state_of_a_run_needs_no_key(self, store: RunStore):
        """The run was active when the file was written, and has ended since; another one holds the key now."""
        one = history(RunCreated(name="n", exclusive="k"), STARTED, COMPLETED)
        store.import_runs(placed(*one))
        Writer(store).start("mine", exclusive="k")
        assert 0 == store.import_runs(placed(*one[:2])).added

    def test_what_the_source_raises_comes_out(self, store: RunStore):
        """And nothing is taken."""

        def lines() -> Iterator[Placed]:
            yield from placed(*HISTORY)
            raise InvalidInput("line 4: broken")

        with pytest.raises(InvalidInput, match=r"^line 4: broken$"):
            store.import_runs(lines())
        assert [] == held(store)
        assert 3 == store.import_runs(placed(*HISTORY)).added

    def test_progress_is_told(self, store: RunStore):
        """How many events were read, and at the end all of them."""
        told: list[int] = []
        store.import_runs(placed(*HISTORY), told.append)
        assert 3 == told[-1]
        assert sorted(told) == told

    def test_followers_wake(self, store: RunStore):
        """An import is news like any other."""
        waiting, woken = Event(), Event()

        def wait() -> None:
            waiting.set()
            if store.wait(0, LONG):
                woken.set()

        thread = Thread(target=wait)
        thread.start()
        assert waiting.wait(LONG)
        store.import_runs(placed(*HISTORY))
        assert woken.wait(LONG)
        thread.join(LONG)

    def test_a_store_that_cannot_be_read_takes_nothing(self, store: RunStore, behind: Behind):
        """It cannot be told whether it has the same."""
        store.import_runs(placed(*HISTORY))
        behind("UPDATE events SET state = X'00' WHERE originator_version = 1")
        with pytest.raises(StoreCorrupt, match="run a, version 1, position 1: expected the JSON"):
            store.import_runs(placed(*HISTORY))

    def test_the_same_event_in_an_older_shape_is_no_other_one(
        self, store: RunStore, behind: Behind
    ):
        """Events are compared by what they say; the store keeps its own."""
        store.import_runs(placed(*HISTORY))
        older = b'{ "result": {"rows": 10} }'
        behind(f"UPDATE events SET state = X'{older.hex()}' WHERE originator_version = 3")
        assert ImportReport(events=3, runs=1) == store.import_runs(placed(*HISTORY))
        other = altered(END, event=RunCompleted(result={"rows": 11}))
        with pytest.raises(InvalidInput, match=r"line 3, field data: .* as the store has it"):
            store.import_runs(placed(*HISTORY[:2], other))

    @pytest.mark.parametrize("column", ["actor", "correlation_id", "event_id"])
    def test_what_only_one_of_two_events_has_makes_them_different(
        self, store: RunStore, behind: Behind, column: str
    ):
        """Nothing is not the same as anything."""
        events = [altered(event, actor="api", correlation_id="c") for event in HISTORY]
        store.import_runs(placed(*events))
        behind(f"UPDATE events SET {column} = NULL WHERE originator_version = 2")
        with pytest.raises(LastwordError, match="run a"):
            store.import_runs(placed(*events))

    def test_an_owner_may_have_any_name(self, store: RunStore):
        """Also one with characters that a database cannot hold as they are."""
        odd = OWNER.model_copy(update={"host": "a\0b\x1a"})
        store.import_runs(placed(*history(CREATED, RunStarted(owner=odd))))
        assert odd == seen(store.view("a")).owner
        assert sound(store)

    # -- some runs of the log

    def test_the_log_of_some_runs(self, store: RunStore):
        """Their events in order of position, each run once; one that is not there has none."""
        b = history(*LIFE, run_id=7, first=20)
        store.import_runs(
            placed(CREATION, b[0], *HISTORY[1:], *b[1:], *history(CREATED, run_id="c", first=40))
        )

        def log(*run_ids: RunId) -> list[int]:
            return [row[0] for batch in store.log(run_ids=run_ids) for row in batch]

        assert [2, 5, 6, 7] == log("7", "c", 7)
        assert [1, 3, 4] == log("a", "no such run")
        assert [] == log()
        assert [4] == [row[0] for batch in store.log(3, ["a"]) for row in batch]

"""What every store promises about `append_all`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.appending import CREATED, SHARED, STARTED, numbers
from contracts.kit import MovingClock, Writer, at_once, seen
from lastword.domain.errors import (
    InvalidInput,
    LastwordError,
    RunAlreadyActive,
    VersionConflict,
)
from lastword.domain.events import (
    CancellationRequested,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunEvent,
    RunLost,
    RunProgressed,
)
from lastword.domain.status import FlagReason, RunStatus
from lastword.domain.values import RunId
from lastword.projections.ports import Append, Appended, RunStore
from lastword.projections.queries import RunQuery
from lastword.projections.run_view import fold_view


def taken(answer: Appended | LastwordError | None) -> Appended:
    """What has to be there."""
    assert isinstance(answer, Appended), answer
    return answer


SHAPES: dict[str, tuple[tuple[RunEvent, ...], tuple[RunEvent, ...]]] = {
    "new": ((), (CREATED,)),
    "new, with all": (
        (),
        (
            RunCreated(
                name="import", tags={"team": "data", "tier": "1"}, params={"n": 1}, actor="a"
            ),
        ),
    ),
    "new, and begun": ((), (CREATED, STARTED)),
    "new, tagged and ended": (
        (),
        (RunCreated(name="import", tags={"team": "web"}), STARTED, RunCompleted(result=[1])),
    ),
    "begins": ((CREATED,), (STARTED,)),
    "reports": ((CREATED, STARTED), (RunProgressed(current=1, total=2, step="one"),)),
    "ends": ((CREATED, STARTED), (RunCompleted(result={"rows": 1}),)),
    "reports and ends": ((CREATED, STARTED), (RunProgressed(current=2), RunCompleted(note="so"))),
    "is cancelled": ((CREATED,), (CancellationRequested(), RunCancelled())),
}
"""Of a run: what has happened before, and what is appended now."""


def _tagged(event: RunEvent, run_id: RunId) -> RunEvent:
    if not isinstance(event, RunCreated) or not event.tags:
        return event
    return event.model_copy(update={"tags": {**event.tags, "run": str(run_id)}})


class Grouping:
    """Several appends in one transaction, each of which may fail alone."""

    def test_appends_of_several_runs_are_one_step(self, store: RunStore, clock: MovingClock):
        """Answers come in their order, and each is what `append` would have given."""
        clock.advance(30)
        writer = Writer(store)
        writer.start("old")
        requests = [
            writer.request(17, RunCreated(name="import", tags={"team": "data"}), STARTED),
            writer.request("old", RunCompleted(result={"rows": 1})),
            writer.request("b", CREATED),
        ]
        answers = [taken(answer) for answer in store.append_all(requests)]
        assert [answer.view.run_id for answer in answers] == [17, "old", "b"]
        for request, answer in zip(requests, answers, strict=True):
            history = store.read_run(request.run_id)
            assert list(answer.events) == history[request.expected_version :]
            assert answer.view == store.view(request.run_id) == fold_view(history)
            assert {event.recorded_at for event in answer.events} == {clock.now}
        positions = [event.position for answer in answers for event in answer.events]
        assert positions == sorted(set(positions))
        assert store.counts()[RunStatus.RUNNING] == 1

    def test_nothing_to_append_is_nothing(self, store: RunStore):
        """No answers, and nothing is written."""
        assert store.append_all([]) == []
        assert store.last_position() == 0

    @pytest.mark.parametrize("place", [0, 1, 2])
    def test_a_conflict_fails_alone(self, store: RunStore, place: int):
        """Wherever it stands: its error stands in its place, and the others are taken."""
        writer = Writer(store)
        view = writer.start("a").view
        late = writer.request("a", RunCancelled(), view=view)
        writer.add("a", RunCompleted(result=1))
        requests = [writer.request("b", CREATED), writer.request("c", CREATED)]
        requests.insert(place, late)
        answers = store.append_all(requests)
        refused = answers.pop(place)
        assert isinstance(refused, VersionConflict)
        assert (refused.run_id, refused.expected, refused.found) == ("a", 2, 3)
        assert [taken(answer).view.run_id for answer in answers] == ["b", "c"]
        assert seen(store.view("a")).status == RunStatus.COMPLETED
        assert store.counts()[RunStatus.PENDING] == 2

    def test_two_that_want_one_exclusive_key(self, store: RunStore):
        """The first gets it, the second is told who has it; of the second nothing is left, not even its events."""
        writer = Writer(store)
        wish = RunCreated(name="import", exclusive="nightly", tags={"a": "b"})
        requests = [writer.request(run_id, wish, STARTED) for run_id in (1, "b")]
        requests.append(writer.request("c", CREATED))
        first, second, third = store.append_all(requests)
        assert taken(first).view.run_id == 1
        assert isinstance(second, RunAlreadyActive)
        assert (second.run_id, second.active_run_id) == ("b", 1)
        assert store.view("b") is None
        assert store.read_run("b") == []
        assert taken(third).view.run_id == "c"
        assert [event.run_id for event in store.read(0, 10)] == [1, 1, "c"]
        assert all(run.row == fold_view(run.events) for run in store.scan())
        assert store.inspect(writer.at) == []

    def test_what_can_never_be_stored_fails_alone(self, store: RunStore):
        """An id that cannot be, and a view of another version."""
        writer = Writer(store)
        view = writer.start("a").view
        answers = store.append_all(
            [
                Append("", 0, (writer.new(CREATED),), None),
                writer.request("b", CREATED),
                Append("a", 3, (writer.new(RunCancelled()),), view),
            ]
        )
        assert [type(answer) for answer in answers] == [InvalidInput, Appended, InvalidInput]
        assert seen(store.view("b")).version == 1

    def test_only_refusals_write_nothing(self, store: RunStore):
        """And the store goes on."""
        writer = Writer(store)
        writer.start("a")
        before = store.last_position()
        (answer,) = store.append_all([Writer(store).request("a", CREATED)])
        assert isinstance(answer, VersionConflict)
        assert store.last_position() == before
        writer.add("a", RunCompleted())

    def test_a_guard_that_says_no_concerns_its_own_append(self, store: RunStore):
        """None stands in its place."""
        writer = Writer(store)
        writer.start("a")
        lost = RunLost(flag=FlagReason.SILENT)
        answers = store.append_all(
            [
                writer.request("a", lost, guard=lambda _: False),
                writer.request("b", CREATED),
            ]
        )
        assert answers[0] is None
        assert taken(answers[1]).view.run_id == "b"
        assert seen(store.view("a")).status == RunStatus.RUNNING

    def test_a_guard_that_raises_leaves_nothing_of_all(self, store: RunStore):
        """Its error reaches the caller."""
        writer = Writer(store)
        writer.start("a")

        def fail(_: object) -> bool:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            store.append_all(
                [writer.request("b", CREATED), writer.request("a", RunCompleted(), guard=fail)]
            )
        assert store.view("b") is None
        assert seen(store.view("a")).status == RunStatus.RUNNING

    @SHARED
    @given(st.lists(st.sampled_from(["new", "taken", "held", "stale"]), min_size=1, max_size=12))
    def test_any_mixture_leaves_a_sound_store(self, store: RunStore, kinds: list[str]):
        """Whatever is refused in whatever order: all rows are the folds of their events, and counters agree."""
        writer = Writer(store)
        key = f"key-{next(numbers)}"
        old = writer.start(next(numbers), exclusive=key).view
        requests, expected = [], []
        for kind in kinds:
            match kind:
                case "new":
                    requests.append(writer.request(next(numbers), CREATED, STARTED))
                case "taken":
                    requests.append(Append(old.run_id, 0, (writer.new(CREATED),), None))
                case "held":
                    wish = RunCreated(name="import", exclusive=key)
                    requests.append(writer.request(next(numbers), wish))
                case _:
                    view = old.model_copy(update={"version": 1})
                    requests.append(writer.request(old.run_id, RunCancelled(), view=view))
            expected.append({"new": Appended, "held": RunAlreadyActive}.get(kind, VersionConflict))
        answers = store.append_all(requests)
        assert [type(answer) for answer in answers] == expected
        for request, answer in zip(requests, answers, strict=True):
            if isinstance(answer, Appended):
                assert store.view(request.run_id) == fold_view(store.read_run(request.run_id))
            elif request.run_id != old.run_id:
                assert store.read_run(request.run_id) == []
        assert store.view(old.run_id) == old
        assert store.inspect(writer.at) == []

    @SHARED
    @given(st.lists(st.sampled_from(sorted(SHAPES)), min_size=2, max_size=30))
    def test_any_number_of_any_shape_is_stored(self, store: RunStore, kinds: list[str]):
        """New runs and known ones, with tags and without, one event or more: each is stored as if it were alone."""
        writer = Writer(store)
        requests: list[Append] = []
        for kind in kinds:
            run_id, (before, events) = next(numbers), SHAPES[kind]
            if before:
                writer.add(run_id, *before)
            requests.append(writer.request(run_id, *(_tagged(event, run_id) for event in events)))
        before = store.counts()
        answers = [taken(answer) for answer in store.append_all(requests)]
        for request, answer in zip(requests, answers, strict=True):
            history = store.read_run(request.run_id)
            assert list(answer.events) == history[request.expected_version :]
            assert answer.view == store.view(request.run_id) == fold_view(history)
            if answer.view.tags:
                assert [answer.view] == list(store.query(RunQuery(tags=answer.view.tags)))
        positions = sorted(event.position for answer in answers for event in answer.events)
        assert positions == list(range(positions[0], positions[-1] + 1))
        ended = sum(answer.view.status is RunStatus.COMPLETED for answer in answers)
        assert store.counts()[RunStatus.COMPLETED] == before[RunStatus.COMPLETED] + ended
        assert store.inspect(writer.at) == []

    def test_threads_append_batches(self, store: RunStore):
        """Beside others that append one at a time; every event is there, once."""

        def live(number: int) -> None:
            writer = Writer(store)
            for step in range(5):
                ids = [f"{number}-{step}-{one}" for one in range(4)]
                if number % 2:
                    for run_id in ids:
                        writer.add(run_id, CREATED)
                else:
                    answers = store.append_all([writer.request(run_id, CREATED) for run_id in ids])
                    assert [taken(answer).view.run_id for answer in answers] == ids

        at_once(6, live)
        assert store.counts()[RunStatus.PENDING] == 120
        assert len({event.position for event in store.read(0, 1000)}) == 120

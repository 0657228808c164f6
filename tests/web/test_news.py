"""The stream behind an open page: last words from a position on, and hints."""

from __future__ import annotations

import httpx
import pytest

from browsing import problem
from lastword import RunTracker
from lastword.infrastructure.web.serving import Server
from streaming import Event, listening, serving


def ran(tracker: RunTracker, run_id: int) -> None:
    tracker.create("import", run_id=run_id)
    tracker.start(run_id)
    tracker.complete(run_id)


def told(event: Event) -> tuple[str, object]:
    return event.kind, event.data.get("run_id")


def test_a_page_that_was_away_hears_of_last_words_alone(
    tracker: RunTracker, server: Server
) -> None:
    """Of a long history nothing else is sent; from then on every change is hinted at."""
    for run_id in range(3):
        ran(tracker, run_id)
    first_end = tracker.get(0).position
    with listening(server, f"/news?after={first_end}") as stream:
        assert [("complete", 1), ("complete", 2)] == [told(stream.next()), told(stream.next())]
        tracker.create("import", run_id=9)
        assert ("change", None) == told(hint := stream.next())
        assert tracker.store.last_position() == hint.id


def test_a_change_and_an_end_at_once_are_both_told(tracker: RunTracker, server: Server) -> None:
    """The end first; the position of the last frame stands behind both, so that a page that comes back hears neither again."""
    with listening(server, "/news") as stream:
        ran(tracker, 1)
        heard: list[Event] = []
        while not any(event.kind == "complete" for event in heard):
            heard.append(stream.next())
        assert tracker.get(1).position == max(event.id or 0 for event in heard)
    ran(tracker, 2)
    with listening(server, f"/news?after={tracker.get(1).position}") as stream:
        assert ("complete", 2) == told(stream.next())


@pytest.mark.parametrize("after", ["-1", "x", "1e3", "٣", "9" * 30])
def test_a_position_that_is_none_is_refused(server: Server, after: str) -> None:
    """As a problem document: a script asks."""
    assert (422, "invalid-input") == problem(
        httpx.get(f"{server.url}/news", params={"after": after})
    )


def test_one_client_has_only_so_many(tracker: RunTracker) -> None:
    """Pages count among the streams of a client."""
    with serving(tracker, streams_per_client=1) as server, listening(server, "/news"):
        assert (429, "too-many-streams") == problem(httpx.get(f"{server.url}/news"))

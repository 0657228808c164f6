"""schemathesis tries the API against its own OpenAPI document."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from lastword import RunTracker
from lastword.web import create_app

# JSON Schema has no word for "printable", so it allows ids and names that are refused with 422.
UNSAYABLE = [positive_data_acceptance]
EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "6"))
"""For each operation and each kind of request; more of them: SCHEMATHESIS_EXAMPLES=150."""


def operations() -> list[tuple[str, str]]:
    """Every operation of the document. Streams do not end: test_streams.py tries them."""
    with RunTracker("sqlite:///:memory:") as tracker:
        paths: dict[str, Any] = create_app(tracker).openapi()["paths"]
    return [
        (method, path)
        for path, methods in paths.items()
        for method in methods
        if not path.endswith("/stream")
    ]


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The document of an application over a store with runs in several states."""
    with RunTracker(tmp_path_factory.mktemp("schema") / "runs.db") as tracker:
        for run_id in (1, 2, 3, "a/b"):
            tracker.create("import", run_id=run_id, tags={"team": "data"})
        tracker.start(2)
        tracker.fail(3, "no")
        app = create_app(tracker, allowed_hosts=["testserver"])
        yield schemathesis.openapi.from_asgi("/openapi.json", app)


@pytest.mark.parametrize("mode", GenerationMode)
@pytest.mark.parametrize(("method", "path"), operations())
def test_every_answer_is_as_documented(
    document: Any, method: str, path: str, mode: GenerationMode
) -> None:
    """Requests that fit the document and requests that do not: none is answered with 5xx, or with what is not declared."""

    @given(case=document[path][method].as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.filter_too_much,
            HealthCheck.data_too_large,
        ],
    )
    def tried(case: schemathesis.Case) -> None:
        case.call_and_validate(excluded_checks=UNSAYABLE)

    try:
        tried()
    except Unsatisfiable:  # of a route without parameters every request is right
        assert mode is GenerationMode.NEGATIVE

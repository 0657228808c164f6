"""The page on the HTTP API, made from its OpenAPI document.

After a change of a route:  .venv/bin/python tests/docs/http_api.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from lastword import RunTracker
from lastword.infrastructure.web.problems import ProblemType
from lastword.web import create_app

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "http.md"

_HEAD = """\
# HTTP API

What `lastword serve` answers, and `lastword.web.router` in your own application. How to run it, and a worker in curl:
[Serve runs over HTTP](../how-to/serve.md). The OpenAPI document is at `/openapi.json`; this page is made from it.

- **Ids** stand in paths percent-encoded, a slash as `%2F`. `1` names the run that was created with the number 1 or the text
  `"1"`; answers give it back in the type it was created with. Clients take the ids `.` and `..` for steps in the path: avoid them.
- **Bodies** are `application/json`, of at most 1 MiB. A member or a query parameter that nobody reads is refused.
- **Times** are UTC, in RFC 3339. A time that is sent needs its zone.
- **A token**, where one is set, goes into `Authorization: Bearer ...`; `/healthz` needs none.
- **Lists** have a `Link` header to the next page and the same as `next_cursor`. New runs do not shift a page.
- **`ETag`** on a run and on a list: with `If-None-Match` the answer is 304 while nothing has changed. A flag's words count the
  seconds, so a flagged run changes all the time.
- **Commands** answer 200 (201 for a new run) when the store holds what happened, and 202 with `"stored": false` when this server keeps it
  and stores it a little later. A repeat is harmless and has no `events`.
- **Streams** are server-sent events. `id` is the position in the store, `retry` is 2 s, a comment comes every 15 s. Events without a name
  are what the store recorded, as in `/events`; `log` is a message for people; `complete` carries the
  [completion signal](signal.md), and nothing else says that a run has ended. After it the stream of a run ends; with its
  `Last-Event-ID` the answer is 204.
- **HEAD** is not offered; other methods are 405.

## Problems

Every error is an `application/problem+json` document with `type`, `title`, `status` and `detail`. `type` is stable: programs look
at it, people at `detail`. Where they apply there are `run_id`, `expected`, `found`, `active_run_id`, `retryable`, `spool_pending`,
and `faults` with a `where` and a `message` each. No detail holds a path of the server.
Any route may answer 401, 403, 413, 421, 422, 500 and 503; below stands what else there is.

| type | status | means |
| --- | --- | --- |
"""

_EVERYWHERE = {"401", "403", "413", "421", "422", "500", "503"}
"""What any route may answer; the list of problems says when."""

_MEANS = {
    "about:blank": (
        "404, 405, ...",
        "no more than the status says, e.g. a path that does not exist",
    ),
    "invalid-input": (
        "422, 400",
        "a value cannot be recorded, or a parameter is unknown; 400: the body is no JSON",
    ),
    "run-not-found": ("404", "no run has this id"),
    "run-already-exists": ("409", "the id is taken by a run with another name or other params"),
    "run-already-active": ("409", "another run holds the exclusive key: `active_run_id`"),
    "invalid-transition": ("409", "the run's status does not allow it: from `found` to `expected`"),
    "version-conflict": ("409", "somebody else wrote first; send it again"),
    "not-the-owner": ("409", "a heartbeat for a run whose owner renews its lease by itself"),
    "store-unavailable": ("503", "the store does not answer; `Retry-After` says when to try again"),
    "store-corrupt": ("500", "the store cannot be read; `lastword verify` says where"),
    "unsupported-schema": ("500", "the store was written by a newer release"),
    "unsupported-media-type": ("415", "the body is not `application/json`"),
    "body-too-large": ("413", "more than 1 MiB"),
    "token-required": ("401", "no token, or another one"),
    "unknown-host": ("421", "the `Host` header names a host that this server does not answer for"),
    "other-origin": ("403", "a page of another site is behind the request"),
    "too-many-streams": ("429", "one client has 64 streams at most"),
    "internal": ("500", "a fault of the server; its log has what happened"),
}


def page() -> str:
    """The whole page."""
    with RunTracker("sqlite:///:memory:") as tracker:
        document = create_app(tracker, token="a-token-for-the-document").openapi()
    return _HEAD + "\n".join([*_problems(), *_operations(document), *_models(document)]) + "\n"


def _problems() -> Iterator[str]:
    for name in get_args(ProblemType):
        status, means = _MEANS[name.removeprefix("urn:lastword:problem:")]
        yield f"| `{name}` | {status} | {means} |"


def _operations(document: dict[str, Any]) -> Iterator[str]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"\n## {method.upper()} {path}\n\n{operation['description']}"
            yield from _table(
                "parameter", [_parameter(item) for item in operation.get("parameters", ())]
            )
            body = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if body is not None:
                reference = _reference(body["schema"])
                yield from _table("member", _members(document, reference))
            yield "\n| answer | when |\n| --- | --- |"
            for status, answer in sorted(operation["responses"].items()):
                if status in _EVERYWHERE:
                    continue
                content = answer.get("content", {})
                model = _reference(content.get("application/json", {}).get("schema", {}))
                of = f" ([{model}](#{model.lower()}))" if model and status < "3" else ""
                yield f"| {status}{of} | {answer['description']} |"


def _models(document: dict[str, Any]) -> Iterator[str]:
    wanted = ["OwnerBody", "CommandAnswer", "Beat", "RunPage", "RunView", "RecordedEventModel", "RunCounts", "Completion", "CompletionPage", "Health"]  # fmt: skip
    for name in wanted:
        schema = document["components"]["schemas"][name]
        yield f"\n## {name}\n\n{schema.get('description', '').splitlines()[0]}"
        yield from _table("member", _members(document, name))


def _table(what: str, rows: list[tuple[str, str, str]]) -> Iterator[str]:
    if rows:
        yield f"\n| {what} | type | |\n| --- | --- | --- |"
        yield from (f"| `{name}` | {kind} | {about} |" for name, kind, about in rows)


def _parameter(item: dict[str, Any]) -> tuple[str, str, str]:
    schema = item["schema"]
    name = "Last-Event-ID" if item["in"] == "header" else item["name"]
    about = item.get("description") or schema.get("description", "")
    return name, _kind(schema), _with_default(about, schema)


def _members(document: dict[str, Any], name: str) -> list[tuple[str, str, str]]:
    schema = document["components"]["schemas"][name]
    required = schema.get("required", ())
    rows: list[tuple[str, str, str]] = []
    for member, about in schema.get("properties", {}).items():
        words = " ".join(about.get("description", "").split())
        given = _with_default(words, about) if name.endswith("Body") else words
        need = "Required. " if name.endswith("Body") and member in required else ""
        rows.append((member, _kind(about), f"{need}{given}"))
    return rows


def _with_default(words: str, schema: dict[str, Any]) -> str:
    default = schema.get("default")
    return (
        words
        if default in (None, [], {}, False) or isinstance(default, dict)
        else f"{words} Default: {default}.".strip()
    )


def _kind(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return _reference(schema) or "object"
    if "anyOf" in schema:
        kinds = [_kind(one) for one in schema["anyOf"]]
        return " or ".join(dict.fromkeys(kind for kind in kinds if kind != "null"))
    if "const" in schema:
        return f"`{schema['const']}`".replace("True", "true")
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    kind: str = schema.get("type", "any JSON")
    return "time" if schema.get("format") == "date-time" else kind


def _reference(schema: dict[str, Any]) -> str:
    for one in (schema, *schema.get("anyOf", ())):
        if "$ref" in one:
            return one["$ref"].rpartition("/")[2]
    return ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

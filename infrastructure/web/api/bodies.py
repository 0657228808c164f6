"""What the API takes in the bodies of its commands. Limits on content are the domain's; see docs/reference/http.md."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
)

Number = StrictInt | Annotated[StrictFloat, Field(allow_inf_nan=False)]
Seconds = (
    Annotated[StrictInt, Field(gt=0)] | Annotated[StrictFloat, Field(gt=0, allow_inf_nan=False)]
)
Id = Annotated[
    StrictInt | StrictStr, Field(description="1 to 200 printable characters, or a whole number.")
]
Text = Annotated[StrictStr, Field(max_length=1024)]
Name = Annotated[StrictStr, Field(min_length=1, max_length=200)]


class Body(BaseModel):
    """Base of all bodies: a member that nobody reads is refused."""

    model_config = ConfigDict(extra="forbid")


class CreateBody(Body):
    """A run to be made. The same id, name and params again are a harmless repeat."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "run_id": 17,
                    "name": "import",
                    "params": {"folder": "in"},
                    "tags": {"team": "data"},
                }
            ]
        }
    )

    name: Name = Field(description="What is run; many runs share a name.")
    run_id: Id | None = Field(
        default=None, description="Yours; without one the run gets a fresh UUIDv7."
    )
    params: dict[str, JsonValue] = Field(
        default={}, description="What the run was asked to do; JSON of at most 64 KiB."
    )
    tags: dict[str, StrictStr] = Field(
        default={}, max_length=100, description="Labels to find it by; at most 100."
    )
    actor: Name | None = Field(default=None, description="Who or what asked for it.")
    correlation_id: Name | None = Field(
        default=None, description="Ties the run to a request or a trace elsewhere."
    )
    parent_id: Id | None = Field(
        default=None, description="The run inside which this one was begun."
    )
    attempt: Annotated[StrictInt, Field(ge=1)] = Field(
        default=1, description="1 for the first try."
    )
    retry_of: Id | None = Field(default=None, description="The run that this one tries again.")
    exclusive: Name | None = Field(
        default=None, description="At most one active run holds this key."
    )
    deadline_seconds: Seconds | None = Field(
        default=None, description="From now on; a run that has no last word by then is flagged."
    )
    lease_seconds: Seconds | None = Field(
        default=None, description="How long the owner may be silent; as the server is set, else 60."
    )


class OwnerBody(Body):
    """The process that does the work, as its client knows it."""

    host: Name | None = Field(default=None, description="Without one: the address of the client.")
    pid: Annotated[StrictInt, Field(ge=0, lt=2**31)] | None = Field(
        default=None, description="With a pid, a repeated start is recognised as one."
    )
    started_at: datetime | None = Field(
        default=None,
        description="When the process started, with a time zone. With it, all runs of the process share one lease.",
    )


class StartBody(Body):
    """The work begins."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"owner": {"host": "build-3", "pid": 4711}}]}
    )

    owner: OwnerBody = OwnerBody()


class ProgressBody(Body):
    """How far the work is, in any unit."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"current": 3, "total": 10, "step": "extract"}]}
    )

    current: Number
    total: Number | None = None
    step: Text | None = Field(
        default=None, description="What is being done; null: the step before goes on."
    )
    message: Text | None = Field(default=None, description="A note for people.")


class CompleteBody(Body):
    """The work succeeded."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"result": {"rows": 10}}]})

    result: JsonValue = Field(
        default=None,
        description="What the work gives back. A result of more than 64 KiB is left out with a note; the outcome is recorded.",
    )


class FailBody(Body):
    """The work ended with an error. Texts are sanitised and cut before they are stored."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"type": "ValueError", "message": "no rows", "exit_code": 1}]
        }
    )

    message: StrictStr = Field(description="What went wrong; 1,024 characters of it are kept.")
    type: Name = Field(
        default="Error", description="The kind of error, e.g. the name of the exception."
    )
    traceback: StrictStr | None = Field(default=None, description="16 KiB of it are kept.")
    exit_code: Annotated[StrictInt, Field(ge=-(2**31), lt=2**31)] | None = Field(
        default=None, description="Of a command."
    )
    signal: Name | None = Field(
        default=None, description="Name of the signal that ended a command, e.g. `SIGKILL`."
    )


class CancelBody(Body):
    """A request to stop, or with `stopped` the report that the work has stopped."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"reason": "not needed any more", "actor": "ann"}]}
    )

    reason: Text | None = None
    actor: Name | None = Field(default=None, description="Who asks for it.")
    stopped: StrictBool = Field(
        default=False,
        description="True: the worker says that it has stopped; the run's last word is `cancelled`.",
    )


class Nothing(Body):
    """No member at all; the body may be left out."""

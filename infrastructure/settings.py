"""What can be set: by argument, else by ``LASTWORD_...`` in the environment, else the default here."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from ..domain.errors import InvalidInput
from ..domain.values import MAX_PAYLOAD_BYTES

PREFIX = "LASTWORD_"


class Settings(BaseSettings):
    """All settings. Times are in seconds.

    >>> Settings(retry_attempts=1).retry_attempts
    1
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    url: str | None = None
    """Where the store is; None: a file in the user's data directory."""
    spool_dir: Path | None = None
    """Where events wait that the store did not take; None: beside the store."""
    retry_attempts: int = Field(default=5, ge=1, le=100)
    """How often an append is tried on a transient fault; 1: no retry."""
    retry_base_delay: float = Field(default=0.05, ge=0, le=60)
    """Wait before the second attempt; doubles from there, with jitter."""
    retry_budget: float = Field(default=5.0, gt=0, le=3600)
    """How long all attempts together may take."""
    lease: float = Field(default=60.0, gt=0)
    """How long an owner may be silent before its runs are flagged."""
    heartbeat: float = Field(default=10.0, gt=0)
    """How often an owner renews its lease."""
    start_timeout: float | None = Field(default=None, gt=0)
    """How long a run may be pending before it is flagged `never_started`; None: for ever."""
    progress_interval: float = Field(default=1.0, ge=0)
    """At most one progress event of a run is stored in this time; the last one always is."""
    payload_limit: int = Field(default=MAX_PAYLOAD_BYTES, ge=1)
    """Bytes of JSON in `params` or in a `result`."""
    strict: bool = False
    """True: a fault of the store is raised to the caller. False: it is logged and the caller's work goes on."""
    token: SecretStr | None = None
    """What callers of the HTTP API must present when it listens beyond this machine."""

    @property
    def attempt_timeout(self) -> float:
        """How long one attempt may take, so that all of them fit into `retry_budget`."""
        return self.retry_budget / self.retry_attempts

    @property
    def start_timeout_delta(self) -> timedelta | None:
        """`start_timeout` as a timedelta."""
        return None if self.start_timeout is None else timedelta(seconds=self.start_timeout)


def load_settings(**given: Any) -> Settings:
    """Settings from the arguments that are not None, the environment and the defaults.

    Raises `InvalidInput`, naming the variable, for a value that is not allowed.

    >>> load_settings(lease=30).lease
    30.0
    """
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        variable = name if name.upper().startswith(PREFIX) else f"{PREFIX}{name.upper()}"
        shown = "a value" if name == "token" else repr(first["input"])
        raise InvalidInput(
            f"setting {name}: {first['msg']}, found {shown:.60}; change the argument or {variable}"
        ) from None

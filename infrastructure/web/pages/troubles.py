"""What a page says instead of what was asked for."""

from __future__ import annotations

from dataclasses import dataclass

from ....domain.errors import (
    InvalidInput,
    RunNotFound,
    StoreCorrupt,
    StoreUnavailable,
    UnsupportedSchema,
)
from ....domain.redaction import sanitise


@dataclass(frozen=True, slots=True)
class Trouble:
    """One page of trouble."""

    status: int
    title: str
    lines: tuple[str, ...]
    detail: str = ""
    """What exactly was expected and found, without paths and secrets."""
    retry: bool = False
    """Whether it may be gone a little later; then the page tries again by itself."""


FOREIGN = Trouble(
    403,
    "This did not come from a page of this server",
    ("So nothing was done. Open the run’s page and ask again; programs use the API.",),
)
NOT_STORED = Trouble(
    202,
    "The request is kept, but not stored yet",
    (
        "The store did not take it just now. It is safe on this machine and will be delivered; the run is asked to stop then.",
    ),
)


def trouble_of(error: Exception) -> Trouble:
    """The page for an error of the tracker."""
    detail = sanitise(str(error))
    match error:
        case RunNotFound():
            return Trouble(
                404,
                "No run has this id",
                (
                    "It may have been archived, or it is in another store.",
                    "A run can also be found by the beginning or the end of its id.",
                ),
            )
        case StoreUnavailable():
            return Trouble(
                503,
                "The store does not answer",
                (
                    "So nothing can be said about any run now. What was recorded is safe, and runs that are under way go on.",
                    "This page tries again by itself.",
                ),
                detail,
                retry=True,
            )
        case UnsupportedSchema():
            return Trouble(500, "A newer release has written this store", ("Update Lastword here to read it.",), detail)  # fmt: skip
        case StoreCorrupt():
            return Trouble(500, "The store cannot be read", ("Something in it is not what Lastword writes. `lastword verify` says what, and what to do.",), detail)  # fmt: skip
        case InvalidInput():
            return Trouble(400, "This cannot be asked", (detail,))
        case _:
            return Trouble(500, "Something went wrong", ("The server’s log says what.",))

"""Moved into the package: import from `lastword.testing`."""

from lastword.testing import (
    OTHER_OWNER,
    OWNER,
    START,
    STEP,
    Given,
    Then,
    given,
    recorded,
    view_of,
)

__all__ = ["OTHER_OWNER", "OWNER", "START", "STEP", "Given", "Then", "given", "recorded", "view_of"]

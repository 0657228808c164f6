"""The one suite that every store has to pass.

A binding is a class that inherits `StoreContract` and has three fixtures: `store`, which uses `clock`; `reopen`, which gives
another handle on the same runs; and `behind`, which executes a statement behind the store's back.
"""

from __future__ import annotations

import pytest

from contracts.appending import Appending
from contracts.asking import Asking
from contracts.grouping import Grouping
from contracts.importing import Importing
from contracts.keeping import Keeping
from contracts.kit import MovingClock
from contracts.removing import Removing
from contracts.restoring import Restoring
from contracts.suspecting import Suspecting
from contracts.traveling import Traveling


class StoreContract(
    Appending, Asking, Grouping, Importing, Keeping, Removing, Restoring, Suspecting, Traveling
):
    """All of it."""

    @pytest.fixture
    def clock(self) -> MovingClock:
        """The store's clock."""
        return MovingClock()

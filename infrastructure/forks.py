"""What a forked child must not take for its own: locks that a thread of the parent may have held, and runs that the parent executes.

Whoever keeps such things says so once, and is told in the child. A fork that did not tell Python, as an extension module may do it, is noticed
by the process's id, which is looked at once for each command rather than by everybody before each use.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Inherited(Protocol):
    """Something that a child must begin anew."""

    def forget_parent(self) -> None:
        """Called in the child, before anything else of ours runs there."""
        ...


_INHERITED: weakref.WeakSet[Inherited] = weakref.WeakSet()


def tell_child(those: Inherited) -> None:
    """From now on, each forked child calls `forget_parent`, as long as the object lives."""
    _INHERITED.add(those)


def notice() -> None:
    """If this is a child that has not been told yet, tell it."""
    if os.getpid() != _pid:
        _after_fork_in_child()


_pid = os.getpid()


def _after_fork_in_child() -> None:
    global _pid  # noqa: PLW0603  # it is the process's
    _pid = os.getpid()
    for those in list(_INHERITED):
        those.forget_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)

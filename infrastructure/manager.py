"""RunManager: runs functions in the background and always reports how they ended."""

from __future__ import annotations

from .context import RunContext

__all__ = ["RunContext", "RunManager"]


class RunManager:
    """Runs functions in the background."""

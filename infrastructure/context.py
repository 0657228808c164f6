"""What a managed function sees of its run."""

from __future__ import annotations


class RunContext:
    """Passed to a managed function as its first argument."""

"""Commands as tracked runs: `lastword run -- CMD`."""

"""The way of a fact: RunTracker, RunReader, and what lies between a command and the store."""

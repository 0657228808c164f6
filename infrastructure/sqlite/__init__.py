"""Runs in a SQLite file: the log and the rows, written together."""

from .store import SQLiteStore

__all__ = ["SQLiteStore"]

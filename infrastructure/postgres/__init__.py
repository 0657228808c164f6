"""Runs in PostgreSQL: the log and the rows, written together by many hosts."""

from .store import PostgresStore

__all__ = ["PostgresStore"]

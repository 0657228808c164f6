"""Seals, archives and erasure: what proves a history, and what takes it away on record."""

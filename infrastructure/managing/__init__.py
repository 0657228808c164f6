"""Functions in background threads, and those who wait for their end."""

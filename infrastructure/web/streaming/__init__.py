"""Server-sent events: one watcher over the store for all who listen."""

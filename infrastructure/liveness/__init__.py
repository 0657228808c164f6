"""Who owns a run, whether that process lives, and what becomes of runs whose owner does not."""

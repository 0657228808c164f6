"""Where events wait that the store did not take."""

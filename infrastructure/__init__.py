"""What touches the world: stores, clocks, processes, people."""

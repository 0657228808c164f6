"""What a run is: events, commands, and the rules between them. Pure; nothing here reads a clock or touches the world."""

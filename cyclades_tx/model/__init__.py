"""Plain values and decisions; nothing here waits for anything."""

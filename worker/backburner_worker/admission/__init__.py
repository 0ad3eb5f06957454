"""How many requests the engine holds at once: never more than it can take, never so few that it idles."""

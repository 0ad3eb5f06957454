"""A request on its way through the engine, from its first check to its outcome."""

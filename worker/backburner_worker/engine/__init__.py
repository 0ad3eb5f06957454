"""Engines: what runs a request on a warm model. `base` is the port, `factory` makes the one that is set."""

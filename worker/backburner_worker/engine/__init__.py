"""Engines: what runs a request on a warm model. `base` is the port, `factory` creates the one that is set."""

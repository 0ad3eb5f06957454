"""Models: what can be named in a request, by what name."""

"""The metrics of a worker, and the two kinds that are counted without locks."""

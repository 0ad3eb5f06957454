"""A process of the product as its supervisor sees it: probes, metrics, signals, what it waits for."""

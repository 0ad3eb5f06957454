"""Hostile messages on a real queue before a real worker, and an independent look at what became of each of them."""

"""Hostile messages on a real queue before a real worker, and an independent check of what became of each of them."""

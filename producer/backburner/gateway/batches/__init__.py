"""Batches: made, listed, shown, cancelled. Sending them is the dispatcher's."""

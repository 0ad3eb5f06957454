"""Results: segments and answers and dead letters, on top of storage."""

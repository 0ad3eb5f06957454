"""One harness for each kind of queue, all with the same shape, for the tests that every queue has to pass."""

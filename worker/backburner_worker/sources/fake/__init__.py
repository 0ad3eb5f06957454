"""The shipped fake of a queue, for tests and benchmarks."""

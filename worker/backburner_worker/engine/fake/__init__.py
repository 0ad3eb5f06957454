"""The shipped fake engine, for tests, benchmarks and trying the system without a model."""

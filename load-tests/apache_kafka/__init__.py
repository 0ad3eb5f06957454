"""Apache Kafka as a child process, for tests and scenarios: what runs it, how it is set up, and the broker itself."""

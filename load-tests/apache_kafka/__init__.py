"""Apache Kafka as a child process, for tests and scenarios: release, Java, configuration, and the broker itself."""

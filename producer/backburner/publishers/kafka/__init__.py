"""Kafka as the queue, on the side that publishes."""

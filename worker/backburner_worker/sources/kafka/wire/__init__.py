"""What is asked of brokers that the client library does not ask: requests, and their answers by partition."""

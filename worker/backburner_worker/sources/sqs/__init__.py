"""SQS as the queue, on the side that pulls."""

"""Single requests: put onto the queue, and asked for until they are answered."""

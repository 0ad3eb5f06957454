"""What tenants and lanes share: how much may lie on the queue, and whose turn it is."""

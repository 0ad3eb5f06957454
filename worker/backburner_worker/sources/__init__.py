"""Where deliveries come from: the source port, and one file for each queue that it is implemented on."""

"""The worker as a process: checks before it starts, signals, health, metrics."""

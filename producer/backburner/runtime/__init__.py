"""What long-lived parts stand on: waking each other, trying again, and why a process ends."""

"""What the parts stand on: how they wake each other, try again, and say why a worker ends."""

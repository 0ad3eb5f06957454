"""What became of jobs: their records while they run, how they end, and whether anything is missing."""

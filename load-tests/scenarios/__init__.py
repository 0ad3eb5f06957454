"""What is measured: one file a scenario, each a command of `run.py`. `catalogue` is the list that `make bench` runs."""

"""Child processes of the scenarios: warm engines, bare loops and workers. `measuring.child` starts them as modules."""

"""The fault harness: real processes under load, faults from a seeded schedule, and an independent checker."""

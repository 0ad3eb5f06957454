"""Notices that the machine is about to be taken back, and what a worker does then: it drains while it can."""

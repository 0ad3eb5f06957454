"""The end of a delivery: its outcome stored, then retried, dead-lettered or done."""

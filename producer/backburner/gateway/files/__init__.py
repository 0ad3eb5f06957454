"""Files: what is uploaded, and what batches give."""

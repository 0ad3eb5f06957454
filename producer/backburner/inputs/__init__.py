"""What users submit, read in blocks, checked and counted, up to batches that are ready to be sent."""

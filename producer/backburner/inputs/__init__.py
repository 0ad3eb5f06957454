"""What users submit, read in blocks, checked and counted, until batches of it are fit to be sent."""

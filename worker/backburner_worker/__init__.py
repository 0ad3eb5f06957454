"""What runs beside the GPU: pull, admit, generate, store, settle."""

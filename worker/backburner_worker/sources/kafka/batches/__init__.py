"""What a fetched batch may do to the process that reads it: nothing beyond the bounds set here."""

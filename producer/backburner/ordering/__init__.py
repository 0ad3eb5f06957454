"""The order of a whole job: which requests begin alike, put next to each other before the first is sent."""

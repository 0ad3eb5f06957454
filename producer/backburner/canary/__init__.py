"""Whether one group or release of workers fails more often than the others, by the records that they stored."""

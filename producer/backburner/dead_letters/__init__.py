"""Dead letters, listed, shown and sent again; and what failed of a job, as a new job."""

"""Whether a deployment has what it needs: each thing looked at by itself, and a remedy for what is wrong."""

"""What scenarios measure with: pairs and figures, servers and prompts, CPU and memory. It knows no scenario."""

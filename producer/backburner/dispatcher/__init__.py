"""Sends stored jobs: claims them, puts their requests in order, and streams them onto the queue, fairly."""

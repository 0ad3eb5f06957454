"""Credentials that change while a process runs: read from files anew, and from AWS's own chain."""

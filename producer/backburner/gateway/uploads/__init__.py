"""Uploads in parts, which become files."""

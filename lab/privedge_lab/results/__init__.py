"""Stored results: rows in JSON files."""

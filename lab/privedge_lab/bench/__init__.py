"""Measurements: seconds, rounds and bytes."""

"""Measure seconds, rounds and bytes."""

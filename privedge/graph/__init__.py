"""Served models that are no RANs, as data: a closed list of layers, and no code."""

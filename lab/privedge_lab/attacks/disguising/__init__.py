"""Attacks on disguised images, by what the adversary has besides them (views.py)."""

"""Attacks by honest-but-curious adversaries. Each adversary has one View (views.py)."""

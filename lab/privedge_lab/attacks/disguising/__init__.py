"""Attacks on image obfuscation ("disguised images"), by what else the adversary has (views.py)."""

"""The servers: one process each, no maths of their own, no plaintext. `python -m parties -h`."""

__version__ = "0.1.0"

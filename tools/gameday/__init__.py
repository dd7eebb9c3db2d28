"""The fault table as a command: real faults, done to real processes (docs/faults.md)."""

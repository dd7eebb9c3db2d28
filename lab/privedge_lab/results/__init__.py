"""Stored results: the file they are in, a type for each kind of row, the list of all kinds."""

"""Queries of a front end: waiting, paired, put into runs, answered."""

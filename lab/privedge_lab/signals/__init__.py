"""Signals of sensors, made from physics or bundled with a package: tasks of the split baseline."""

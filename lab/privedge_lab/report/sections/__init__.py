"""The sections of a report, each from the results of its own experiments. Figures only."""

"""A frozen type for each kind of row: what an experiment stores and a report shows."""

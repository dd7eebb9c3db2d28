"""All three servers on this machine, for the demo, the bench and tests. Never for real data."""

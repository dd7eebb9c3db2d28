"""Experiments: the only place that puts models, defences and attacks together."""

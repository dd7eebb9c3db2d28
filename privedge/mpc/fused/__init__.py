"""Comparison and ReLU in few rounds, with everything that is only masks done by the dealer."""

"""Comparison and ReLU in few rounds: the dealer computes everything that depends on masks alone."""

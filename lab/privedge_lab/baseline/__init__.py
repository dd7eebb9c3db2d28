"""The plaintext baseline: the device runs the first layers, one server the rest.

The server sees activations in the clear: what they give away is measured by privedge_lab.attacks.
"""

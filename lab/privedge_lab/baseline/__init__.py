"""The plaintext baseline, split inference: the device runs the first layers, one server the rest.

The server sees activations in the clear. privedge_lab.attacks measures what they reveal.
"""

"""The split server, the plaintext baseline: activations in the clear -> tail -> labels."""

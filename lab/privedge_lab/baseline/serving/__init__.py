"""The split server of the plaintext baseline: activations in the clear -> tail -> labels."""

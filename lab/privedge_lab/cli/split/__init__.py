"""`privedge split`: the plaintext baseline and its figures."""

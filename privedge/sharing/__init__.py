"""(2) The crossing between plaintext and secret shares, over the ring Z_2^64."""

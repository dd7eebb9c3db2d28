"""(2) The crossing between plaintext and shares, over the ring Z_2^64."""

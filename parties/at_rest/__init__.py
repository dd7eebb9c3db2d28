"""Encryption of what a party keeps on disk: shares, salts, and the ring of keys for them."""

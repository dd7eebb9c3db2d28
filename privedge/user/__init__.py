"""(1) An owner's device: sees plaintext images and the plaintext RAN."""

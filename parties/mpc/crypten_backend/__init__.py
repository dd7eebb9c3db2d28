"""The only package of a server that imports CrypTen."""

"""The only package that imports CrypTen."""

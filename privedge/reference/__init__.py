"""The protocol in the clear: what tests and figures compare with."""

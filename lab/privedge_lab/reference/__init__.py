"""The protocol in the clear, with which tests and figures compare private runs."""

"""The whole system on real digits, in one command."""

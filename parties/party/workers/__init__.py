"""The worker processes of a front end, and what they are told."""

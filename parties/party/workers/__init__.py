"""The worker processes of a front end, and what it tells them."""

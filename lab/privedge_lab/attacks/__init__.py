"""What each adversary can do with what it sees; one View per adversary (views.py)."""

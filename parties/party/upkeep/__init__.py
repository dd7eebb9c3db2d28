"""What an operator does with a state folder: back it up, restore it, verify it, adopt it."""

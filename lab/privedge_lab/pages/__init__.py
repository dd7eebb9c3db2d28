"""What pages of HTML have in common: the look of the house, and safe templates. No data."""

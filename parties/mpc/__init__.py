"""(4) What the parties and the dealer compute: sees shares only."""

"""What every server shares, the laboratory's too: no database, no torch."""

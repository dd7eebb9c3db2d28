"""Code that all servers share, including the laboratory's. No database, no torch."""

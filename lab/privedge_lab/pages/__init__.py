"""Charts, and pages of HTML that need nothing else."""

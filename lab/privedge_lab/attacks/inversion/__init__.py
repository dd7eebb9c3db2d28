"""Model inversion: from what a split server sees back to the image (He et al. 2019)."""

"""Model inversion: reconstruct the image from what a split server sees (He et al. 2019)."""

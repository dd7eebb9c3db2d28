"""(5) Who asks: sees its own image and the answer."""

"""Loops over ring elements, compiled for the processor at hand (docs/adr/0010-compiled-kernels.md).

Kernels see words only: shares, masks and openings alike. Which one runs, and for how long, depends
on shapes, never on values.
"""

"""The generated pages of docs/: one module makes each. See tools/reference.py."""

"""The defences: one module a family, and `registry.make` for them all."""

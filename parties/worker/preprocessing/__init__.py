"""The offline phase: correlated randomness made ahead."""

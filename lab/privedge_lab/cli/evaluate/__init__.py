"""`privedge evaluate`: one module for each experiment."""

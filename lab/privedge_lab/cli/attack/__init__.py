"""`privedge attack`: one module for each experiment."""

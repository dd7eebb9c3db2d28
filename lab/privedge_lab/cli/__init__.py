"""The laboratory's commands of `privedge`."""

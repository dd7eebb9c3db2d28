"""The front end's gRPC edge: services it offers and calls it makes."""

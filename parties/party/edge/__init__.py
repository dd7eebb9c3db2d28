"""The front end's gRPC edge: the services it offers and the calls it makes."""

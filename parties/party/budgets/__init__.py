"""How much clients may ask and owners may activate: counted durably, at each party for itself."""

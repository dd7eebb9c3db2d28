"""One page out of stored results, for whoever must decide and whoever compares.

Sees what results files hold (figures, names, pictures of attacks), never images, models or keys.
"""

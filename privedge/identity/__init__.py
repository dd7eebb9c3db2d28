"""Who somebody is: roles, names, and the development certificate authority."""

"""Identities: roles, names, and the development certificate authority."""

"""Who did what at this party, and how much was asked: a log that nobody can change unnoticed.

Holds names, model ids and counts; never a label, a share or an image.
docs/adr/0019-budgets-and-audit.md.
"""

"""Image disguising (Sharma & Chen 2019, DisguisedNets 2023): train and ask on scrambled images.

Sees plaintext images and a key per data set. Obfuscation, not encryption:
docs/explanation/baseline.md says what each adversary gets out of it.
"""

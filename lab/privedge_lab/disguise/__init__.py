"""Image obfuscation, "disguising" (Sharma & Chen 2019, DisguisedNets 2023).

Networks are trained on scrambled images and answer for scrambled images. Sees plaintext images and
a key per data set. This is obfuscation, not encryption: docs/explanation/baseline.md says what each
adversary learns.
"""

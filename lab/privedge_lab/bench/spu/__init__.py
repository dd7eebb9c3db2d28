"""SPU, a framework of others, on the bench's own models: what `privedge bench peers` compares with.

Two processes compute over brpc on loopback, in a Python environment of their own that has the
package `spu`. It is no dependency of ours, and only party.py, which runs there, imports it. Models
and images are made up, and either process can read them: nothing is private.
"""

"""Both ways to compute on words: compiled kernels and torch."""

from collections.abc import Iterator
from contextlib import contextmanager

from parties.mpc.compiled import compiler
from parties.mpc.compiled.ready import State

WAYS = ("kernels", "torch")


@contextmanager
def computing(way: str) -> Iterator[None]:
    """Inside, words are computed by that one of WAYS."""
    compiler.prepare()
    before, State.compiled = State.compiled, way == "kernels"
    try:
        yield
    finally:
        State.compiled = before

"""Arithmetic is tested as servers run it, on compiled kernels, unless a test says otherwise."""

import pytest

from parties.mpc.compiled import compiler


@pytest.fixture(scope="session", autouse=True)
def compiled_kernels() -> None:
    compiler.prepare()

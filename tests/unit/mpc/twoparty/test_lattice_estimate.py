"""The parameters of ring LWE, by an estimate that gives the standard's table back."""

import pytest

from parties.mpc.twoparty import ring
from tools import lattice, lattice_estimate


# HomomorphicEncryption.org (2018), table 1: ternary secrets, 128 bits, classical attacks.
@pytest.mark.parametrize(("degree", "q_bits"), [(2048, 54), (4096, 109), (8192, 218)])
def test_the_estimate_gives_the_table_of_the_standard(degree: int, q_bits: int) -> None:
    assert 127 < lattice.standard_bits(degree, q_bits) < 131


def test_ours_are_not_below_what_the_standard_asks() -> None:
    assert lattice.standard_bits(ring.DEGREE, ring.Q_BITS) >= 128
    # More room between message and modulus costs security.
    assert lattice.standard_bits(ring.DEGREE, ring.Q_BITS + 27) < 128


def test_the_estimator_is_asked_about_the_parameters_in_use() -> None:
    """Its tool runs without anything of ours, so it has them once more."""
    asked = lattice_estimate.DEGREE, lattice_estimate.Q_BITS, lattice_estimate.ERROR_PAIRS
    assert asked == (ring.DEGREE, ring.Q_BITS, ring.ERROR_PAIRS)

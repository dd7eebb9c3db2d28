"""Run the lattice estimator on the ring LWE samples of two parties (docs/adr/0047).

It needs Sage, and nothing of ours:

    python3.11 -m venv build/sage && build/sage/bin/pip install passagemath-standard==10.8.13
    git clone https://github.com/malb/lattice-estimator build/lattice-estimator
    git -C build/lattice-estimator checkout 27a581bb8e9d49f5e9e2db315bd48ac769d5f5f5
    PYTHONPATH=build/lattice-estimator build/sage/bin/python tools/lattice_estimate.py

Each cost is a number of operations. The models of lattice reduction are BDGL16, as the standard of
HomomorphicEncryption.org counts; that of MATZOV (2022), the estimator's default; and core-SVP
(ADPS16), which counts one call of a sieve. Any number of samples may be seen. Nothing of the ring's
structure is used, and attacks that need far more are left out: Arora and Ge's, and BKW.
"""

DEGREE, Q_BITS, ERROR_PAIRS = 8192, 216, 21


def main() -> None:
    """Print what the estimator says."""
    from estimator import LWE, ND, RC  # type: ignore[import-not-found]  # of another environment
    from sage.all import oo  # type: ignore[import-not-found]

    samples = LWE.Parameters(
        n=DEGREE,
        q=1 << Q_BITS,
        Xs=ND.UniformMod(3),
        Xe=ND.CenteredBinomial(ERROR_PAIRS),
        m=oo,
    )
    print(samples)
    attacks = {
        "unique SVP": LWE.primal_usvp,
        "bounded distance decoding": LWE.primal_bdd,
        "dual": LWE.dual,
        "dual with guesses": LWE.dual_hybrid,
    }
    for attack, estimate in attacks.items():
        for model in (RC.BDGL16, RC.MATZOV, RC.ADPS16):
            print(attack, type(model).__name__, repr(estimate(samples, red_cost_model=model)))


if __name__ == "__main__":
    main()

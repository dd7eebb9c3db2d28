"""Print an estimate of the primal attack on the ring LWE samples of two parties (docs/adr/0047).

    python -m tools.lattice

Unique-SVP embedding, by the estimate of Alkim, Ducas, Poeppelmann and Schwabe (USENIX Security
2016) as Albrecht, Goepfert, Virdia and Wunderer tested it (ASIACRYPT 2017): with block size b the
attack works if

    sqrt(b) sigma <= delta^(2 b - d - 1) * (q^m (sigma / sigma_s)^n)^(1 / d)        d = m + n + 1

for the best number m of samples. A block costs 2^(0.292 b) at least (core-SVP); the standard of
HomomorphicEncryption.org (2018) counts 2^(0.292 b + 16.4) for each of 8 d of them. No other attack
is looked at, and nothing of the ring's structure: it replaces no lattice estimator.
"""

from math import e, log2, pi, sqrt

from parties.mpc.twoparty import ring

# Of uniform ternary secrets, and of centred binomial errors.
_SECRET = sqrt(2 / 3)
_ERROR = sqrt(ring.ERROR_PAIRS / 2)
_CORE, _CALL, _TOURS = 0.292, 16.4, 8


def block_size(degree: int, q_bits: int) -> tuple[int, int]:
    """The smallest block size for which the attack works, and its dimension d."""
    return min(_smallest(degree, q_bits, m) for m in range(degree // 4, 2 * degree, degree // 64))


def standard_bits(degree: int, q_bits: int) -> float:
    """log2 of the cost as the standard counts it."""
    block, dimension = block_size(degree, q_bits)
    return _CORE * block + _CALL + log2(_TOURS * dimension)


def _smallest(n: int, q_bits: int, m: int) -> tuple[int, int]:
    d, low, high = m + n + 1, 60, m + n
    while low < high:
        block = (low + high) // 2
        volume = (m * q_bits + n * log2(_ERROR / _SECRET)) / d
        reached = (2 * block - d - 1) * _log_delta(block) + volume
        low, high = (low, block) if log2(sqrt(block) * _ERROR) <= reached else (block + 1, high)
    return low, d


def _log_delta(block: int) -> float:
    """log2 of the root Hermite factor."""
    return (log2(pi * block) / block + log2(block / (2 * pi * e))) / (2 * (block - 1))


def main() -> None:
    """Print a line."""
    block, dimension = block_size(ring.DEGREE, ring.Q_BITS)
    standard = standard_bits(ring.DEGREE, ring.Q_BITS)
    print(f"degree {ring.DEGREE}, log q {ring.Q_BITS}: block size {block}, dimension {dimension};")
    print(f"core-SVP 2^{_CORE * block:.1f}; as the standard counts, 2^{standard:.1f}")


if __name__ == "__main__":
    main()

"""What products with fixed weights need of them, kept from run to run within a bound of memory.

It belongs to no pairing: other transfers do as well. Each weight that was learned has a name of its
own from both parties, so they know whether they keep the same (TwoParty.joined).
"""

import threading
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import torch

from parties.mpc.twoparty.encrypted import Evaluator, KeyHolder
from privedge.errors import LimitExceeded

ID_BYTES: Final = 32
_MIB = 1 << 20


@dataclass(frozen=True)
class Known:
    """A weight: this party's share, its key, and the other party's ciphertexts. Nothing of it
    changes, so several threads may use it.

    memory: bytes that it takes, without the share.
    """

    id: bytes
    memory: int
    share: torch.Tensor = field(repr=False)
    holder: KeyHolder = field(repr=False)
    evaluator: Evaluator = field(repr=False)


# By whose weights they are (TwoParty.learn), and by name.
Weights: TypeAlias = dict[tuple[bytes, str], Known]


class KeptWeights:
    """Weights of several snapshots; those used last stay. Safe to call from several threads."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._lock = threading.Lock()
        self._kept: Weights = {}

    def weights(self) -> Weights:
        """All of them."""
        with self._lock:
            return dict(self._kept)

    def keep(self, weights: Weights, scope: bytes) -> None:
        """These in place of all others; `scope` was used last. Where they are too many, the scopes
        that were not used for the longest time go.
        """
        with self._lock:
            order = [of for of, _ in self._kept if of != scope] + [scope]
            by_age = sorted(weights, key=lambda key: order.index(key[0]) if key[0] in order else 0)
            left = self._limit - sum(known.memory for known in weights.values())
            self._kept = {}
            for key in by_age:
                if left < 0:
                    left += weights[key].memory
                else:
                    self._kept[key] = weights[key]

    def check_room(self, scope: bytes, weights: Weights, more: int) -> None:
        """Raises LimitExceeded if `more` bytes do not fit beside those of this scope."""
        needed = more + sum(known.memory for (of, _), known in weights.items() if of == scope)
        if needed > self._limit:
            raise LimitExceeded(
                f"two-party randomness needs {-(-needed // _MIB)} MiB for these models' weights; "
                "see [pool] hint_mib"
            )

"""The masks A of fixed weights, which the dealer keeps between queries.

A is the same for every query of a snapshot, and as large as all its weights
(docs/protocol.md#fixed-products). Expanding it again costs more than using it. These masks hide the
weights, so they never leave the dealer and have no repr.
"""

import threading
from collections import OrderedDict

import torch

from parties.mpc.fixed_product import FixedProduct
from parties.mpc.tuples import Shape

Seeds = tuple[bytes, bytes]

# A weight by name and shape, and the first owner of a run.
_Key = tuple[str, Shape, int]


class WeightMasks:
    """Masks by the weight seeds of both parties, which identify a snapshot. Thread-safe.

    If the limit is reached, new masks replace those of the least recently used snapshot, so the
    masks of a superseded snapshot go first. They never replace masks of the same snapshot: if a
    snapshot is too large for the limit, only some of its masks are kept.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[Seeds, dict[_Key, torch.Tensor]] = OrderedDict()
        self._bytes = 0

    @property
    def size(self) -> int:
        """The size of all kept masks, in bytes."""
        return self._bytes

    def mask(self, seeds: Seeds, kind: FixedProduct, run: slice) -> torch.Tensor:
        """Return A of the weight in `kind` for a run of owners, int64. It must not be changed."""
        key = (kind.name, kind.masked, run.start)
        with self._lock:
            if seeds in self._kept:
                self._kept.move_to_end(seeds)
                if key in self._kept[seeds]:
                    return self._kept[seeds][key]
        # A is the sum of the two parties' streams. Only the dealer knows both seeds.
        mask = kind.weight_mask(seeds[0], run)
        mask += kind.weight_mask(seeds[1], run)
        with self._lock:
            self._keep(seeds, key, mask)
        return mask

    def _keep(self, seeds: Seeds, key: _Key, mask: torch.Tensor) -> None:
        if mask.nbytes > self._limit or key in self._kept.get(seeds, {}):
            return
        while self._bytes + mask.nbytes > self._limit:
            oldest = next(iter(self._kept))
            if oldest == seeds:
                return
            self._bytes -= sum(old.nbytes for old in self._kept.pop(oldest).values())
        self._kept.setdefault(seeds, {})[key] = mask
        self._kept.move_to_end(seeds)
        self._bytes += mask.nbytes

"""A supply of tuples that the two parties make during the run, when each is drawn.

For the first runs of a snapshot, whose plan nobody knows yet, and for a run without a bundle. What
products need of a model's weight is exchanged when the weight is met first (learned.py).
"""

import time
from collections.abc import Callable

from parties.mpc.dealing import Ahead, SessionId, TupleShares
from parties.mpc.fixed_product import FixedProduct, FixedWeight
from parties.mpc.tuples import TupleKind
from parties.mpc.twoparty.learned import Models, missing_memory
from parties.mpc.twoparty.maker import TwoParty


class Live:
    """A Supply. Both parties draw the same tuples in the same order. No useful repr.

    learning_s, learned: seconds spent on weights, and the bytes of memory that those take.
    """

    def __init__(
        self,
        run: SessionId,
        pairing: TwoParty,
        models: Models,
        room: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`models`: whose weights they are, the same at both parties (TwoParty.learn). `room` may
        refuse to learn weights that take so many bytes of memory.
        """
        self.run = run
        self.used: list[TupleKind] = []
        self.pairing = pairing
        self.learning_s, self.learned = 0.0, 0
        self._models = models
        self._room = room

    def draw(self, kind: TupleKind) -> TupleShares:
        """Make the next tuple. Raises ShareError for a kind that two parties cannot make."""
        self.used.append(kind)
        return self.pairing.tuple(kind)

    def product(self, kind: FixedProduct, weight: FixedWeight) -> Ahead:
        """Make B_i and U_i of the next tuple. Raises ShareError if two parties cannot."""
        self.used.append(kind)
        more = missing_memory(self.pairing.weights, kind, self._models)
        if more:
            self._room(more)
            started = time.monotonic()
            self.pairing.learn(kind, weight.share, self._models)
            self.learning_s += time.monotonic() - started
            self.learned += more
        return self.pairing.product(kind, self._models)

"""How long a run will take that makes its tuples itself, told from those that went before.

What such a run learns of weights it learns once (mpc/twoparty/learned.py). So its seconds have two
parts: those for its tuples, which the next run of its kind needs too, and those for weights, which
depend on how much of them is missing. Knows sizes and seconds only.
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

from parties.bounded_dict import BoundedDict

KeyT = TypeVar("KeyT", bound=Hashable)


class LiveTimes(Generic[KeyT]):
    """Of the last runs of so many kinds. Not safe to call from several threads."""

    def __init__(self, keep: int) -> None:
        self._making_s: BoundedDict[KeyT, float] = BoundedDict(keep)
        self._learning_s_a_byte = 0.0

    def expected_s(self, key: KeyT, missing: int) -> float:
        """Seconds of the next run of that kind, if it must learn weights that take `missing` bytes
        of memory; 0 while no run of the kind went well, which is then tried.
        """
        made = self._making_s.get(key)
        return 0.0 if made is None else made + missing * self._learning_s_a_byte

    def note(self, key: KeyT, seconds: float, *, learning_s: float, learned: int) -> None:
        """A run went well. Of its `seconds` it spent `learning_s` on weights of `learned` bytes."""
        self._making_s[key] = seconds - learning_s
        if learned:
            self._learning_s_a_byte = learning_s / learned

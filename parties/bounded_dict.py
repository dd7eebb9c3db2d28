"""A small memory of what came last: what a server remembers, but not for ever."""

from collections import OrderedDict
from collections.abc import Iterator, MutableMapping
from typing import TypeVar

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")


class BoundedDict(MutableMapping[KeyT, ValueT]):
    """At most `limit` entries, oldest first; setting one makes it the newest.

    Reading leaves the order as it is, `used` does not. Not safe for threads by itself. It has no
    repr of its own, so it shows nothing of what it holds.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # Of a plain dict, finding the oldest entry takes longer the more have left before it.
        self._kept: OrderedDict[KeyT, ValueT] = OrderedDict()

    def __getitem__(self, key: KeyT) -> ValueT:
        return self._kept[key]

    def __setitem__(self, key: KeyT, value: ValueT) -> None:
        self._kept[key] = value
        self._kept.move_to_end(key)
        self.shrink(self._limit)

    def __delitem__(self, key: KeyT) -> None:
        del self._kept[key]

    def __iter__(self) -> Iterator[KeyT]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def used(self, key: KeyT) -> ValueT:
        """The value of `key`, which is the newest entry from now on. Raises KeyError."""
        self._kept.move_to_end(key)
        return self._kept[key]

    def shrink(self, size: int) -> None:
        """Let go of the oldest entries until there are no more than `size`."""
        while len(self._kept) > size:
            self._kept.popitem(last=False)

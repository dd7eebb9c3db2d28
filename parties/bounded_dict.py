"""A dictionary that keeps only its newest entries."""

from collections import OrderedDict
from collections.abc import Iterator, MutableMapping
from typing import TypeVar

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")


class BoundedDict(MutableMapping[KeyT, ValueT]):
    """At most `limit` entries, oldest first; setting an entry makes it the newest.

    Reading an entry does not change the order; `used` does. Not safe to call from several threads.
    It has no repr of its own, so it shows nothing of what it holds.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # In a plain dict, finding the oldest entry gets slower with every entry removed before it.
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
        """Return the value of `key`, and make it the newest entry. Raises KeyError."""
        self._kept.move_to_end(key)
        return self._kept[key]

    def shrink(self, size: int) -> None:
        """Drop the oldest entries until there are no more than `size`."""
        while len(self._kept) > size:
            self._kept.popitem(last=False)

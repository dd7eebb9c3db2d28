"""Ids that were used, so that none is used twice."""


class Remembered:
    """The newest `limit` ids, and up to as many before them. Not safe to call from several threads.

    There are two sets, and the older one goes when the newer one is full. An id of 16 bytes takes
    some 100 bytes; with one dictionary in order of age it was 250, and a server grew by 16 MB.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._new: set[bytes] = set()
        self._old: set[bytes] = set()

    def __contains__(self, used: bytes) -> bool:
        return used in self._new or used in self._old

    def add(self, used: bytes) -> None:
        """Remember an id."""
        if len(self._new) == self._limit:
            self._old, self._new = self._new, set()
        self._new.add(used)

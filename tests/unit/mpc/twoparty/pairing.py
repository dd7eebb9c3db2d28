"""Both parties of a pairing, each in a thread of its own."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

from tests.unit.mpc.pair import QueueLink

Side = Callable[[int, Any], Any]
# (party, number of the exchange, what it sends) -> what is sent in its place.
Spoil = Callable[[int, int, bytes], bytes]


def both(side: Side, spoil: Spoil | None = None, links: Sequence[Any] | None = None) -> list[Any]:
    """`side(index, link)` at both parties; what each returned or raised."""
    links = QueueLink.pair() if links is None else links
    results: list[Any] = [None, None]

    def work(index: int) -> None:
        link = links[index] if spoil is None else _Spoilt(links[index], index, spoil)
        try:
            results[index] = side(index, link)
        except Exception as error:
            results[index] = error
            links[index].hang_up()

    other = threading.Thread(target=work, args=(1,))
    other.start()
    work(0)
    other.join()
    return results


class _Spoilt:
    """A link that changes what its party sends."""

    def __init__(self, link: QueueLink, index: int, spoil: Spoil) -> None:
        self._link, self._index, self._spoil = link, index, spoil
        self._count = 0

    def exchange(self, payload: bytes) -> bytearray:
        self._count += 1
        return self._link.exchange(self._spoil(self._index, self._count, payload))

"""A call that goes on until one side ends it, decoded as its messages come."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Watch(Generic[T]):
    """Iterate over it once. `cancel` may be called from any thread, and ends the iteration."""

    def __init__(self, call: Any, decode: Callable[[Iterable[Any]], Iterator[T]]) -> None:
        self._call = call
        self._decode = decode

    def __iter__(self) -> Iterator[T]:
        """Raises what gRPC does."""
        return self._decode(self._call)

    def cancel(self) -> None:
        """End the call."""
        self._call.cancel()

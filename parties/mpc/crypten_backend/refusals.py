"""What of CrypTen is refused, and how its objects look in a log."""

from collections.abc import Callable
from typing import Any

from parties.mpc.crypten_backend import running
from privedge.errors import NotAllowed, NotSupported


def not_supported(text: str) -> Callable[..., Any]:
    """A function that raises NotSupported with this text, whatever it is called with."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise NotSupported(text)

    return refuse


def not_allowed(text: str) -> Callable[..., Any]:
    """The same with NotAllowed."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise NotAllowed(text)

    return refuse


class Unseeded(dict[Any, Any]):
    """CrypTen's generators of one purpose: none. Its zero shares and masks come from others."""

    def __missing__(self, device: Any) -> Any:
        raise NotSupported("no generator of torch is seeded here: nothing it makes hides anything")


def init(*args: Any, **kwargs: Any) -> None:
    """crypten.init: the session is there already. Raises NotReady if it is not."""
    running.session()


def uninit() -> None:
    """crypten.uninit: whoever opened the session closes it."""


def manual_seed(*args: Any, **kwargs: Any) -> None:
    raise NotAllowed("masks come from the operating system and AES-CTR; they have no seed to set")


def hidden(self: Any) -> str:
    """A repr without words: CrypTen's shows this party's share."""
    return f"{type(self).__name__}({tuple(self.size())}, share hidden)"


def identity(self: Any) -> int:
    """A hash that reads no share."""
    return id(self._tensor)

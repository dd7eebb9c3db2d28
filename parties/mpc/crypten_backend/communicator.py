"""CrypTen's communicator over the parties' stream: each call is one exchange of the session.

Who only receives sends zeros, so a share leaves only where CrypTen's own communicator sends it too.
What would pickle (objects that are no shapes), and what needs a third party or a message in one
direction, is refused.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch

from parties.mpc.crypten_backend import running
from parties.mpc.crypten_backend.load import Communicator
from parties.mpc.session import Session
from privedge.errors import LimitExceeded, NotSupported, ShareError

# A shape travels as its rank and so many extents.
_MOST_DIMENSIONS = 8
_MOST_WORDS = 1 << 30


class SessionCommunicator(Communicator):  # type: ignore[misc]  # CrypTen is untyped
    """Uses the session that is attached to the calling thread. Both parties call alike.

    Tensors are of the same shape and dtype at both parties: int64, or floats, which travel as
    float64.
    """

    @classmethod
    def is_initialized(cls) -> bool:
        return running.running.protocols is not None

    @classmethod
    def get(cls) -> "SessionCommunicator":
        return cls()

    @classmethod
    def session(cls) -> Session:
        """Return the attached session. Raises NotReady if there is none."""
        return running.session()

    def get_rank(self) -> int:
        return self.session().party

    def get_world_size(self) -> int:
        return 2

    def all_reduce(self, input: Any, op: Any = None, batched: bool = False) -> Any:
        """Open one tensor, or with `batched` a list of them, in a single exchange."""
        tensors = list(input) if batched else [input]
        _checked(op)
        opened = [
            _reduced(mine, theirs, op)
            for mine, theirs in zip(tensors, self._swap(tensors), strict=True)
        ]
        return opened if batched else opened[0]

    def reduce(self, input: Any, dst: int, op: Any = None, batched: bool = False) -> Any:
        """The same at party `dst` only; None at the other one."""
        tensors = list(input) if batched else [input]
        _checked(op)
        receives = self.get_rank() == dst
        theirs = self._swap([torch.zeros_like(mine) if receives else mine for mine in tensors])
        if not receives:
            return None
        opened = [_reduced(mine, other, op) for mine, other in zip(tensors, theirs, strict=True)]
        return opened if batched else opened[0]

    def gather(self, tensor: torch.Tensor, dst: int, async_op: bool = False) -> Any:
        """At party `dst` both tensors, party 0's first; [None] at the other one."""
        receives = self.get_rank() == dst
        (theirs,) = self._swap([torch.zeros_like(tensor) if receives else tensor])
        return self._in_order(tensor, theirs) if receives else [None]

    def all_gather(self, tensor: torch.Tensor, async_op: bool = False) -> list[torch.Tensor]:
        """Both tensors, party 0's first."""
        (theirs,) = self._swap([tensor])
        return self._in_order(tensor, theirs)

    def broadcast(self, input: Any, src: int, async_op: bool = False, batched: bool = False) -> Any:
        """Party `src`'s tensor, or list of them, written into the other party's."""
        tensors = list(input) if batched else [input]
        sends = self.get_rank() == src
        theirs = self._swap([each if sends else torch.zeros_like(each) for each in tensors])
        if not sends:
            for mine, other in zip(tensors, theirs, strict=True):
                # A leaf that wants gradients may not be written in place.
                mine.data.copy_(other)
        return input

    def scatter(
        self, scatter_list: Any, src: int, size: Any = None, async_op: bool = False
    ) -> torch.Tensor:
        """Each party's own entry of the list that party `src` has; int64."""
        sends = self.get_rank() == src
        if size is None:
            size = self.broadcast_obj(scatter_list[0].shape if sends else None, src)
        mine = scatter_list[1 - src] if sends else torch.zeros(tuple(size), dtype=torch.long)
        (theirs,) = self._swap([mine])
        return scatter_list[src] if sends else theirs

    def barrier(self) -> None:
        self._swap([torch.zeros(1, dtype=torch.long)])

    def broadcast_obj(self, obj: Any, src: int) -> torch.Size:
        """The shape that party `src` has. Raises NotSupported for any other object: CrypTen
        pickles those.
        """
        words = torch.zeros(1 + _MOST_DIMENSIONS, dtype=torch.long)
        sends = self.get_rank() == src
        if sends:
            if not isinstance(obj, torch.Size | tuple) or len(obj) > _MOST_DIMENSIONS:
                raise NotSupported("only shapes are sent as objects: anything else is pickled")
            words[: 1 + len(obj)] = torch.tensor([len(obj), *obj])
        (theirs,) = self._swap([words])
        return torch.Size(obj) if sends else _shape(theirs.tolist())

    def send(self, *args: Any, **kwargs: Any) -> None:
        raise NotSupported("messages in one direction: use broadcast, gather or scatter")

    recv = isend = irecv = send

    def send_obj(self, *args: Any, **kwargs: Any) -> None:
        raise NotSupported("objects of Python are pickled by CrypTen; nothing here is")

    recv_obj = send_obj

    def reset_communication_stats(self) -> None:
        raise NotSupported("a session counts its rounds and bytes from its start")

    def get_communication_stats(self) -> dict[str, int]:
        """Rounds so far, and the bytes that this party has sent in them, digests included."""
        return {"rounds": self.session().rounds, "bytes": self.session().bytes_sent}

    def _swap(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The other party's tensors, of the same shapes and dtypes. One exchange."""
        mine = torch.cat([_words(tensor) for tensor in tensors])
        theirs = self.session().exchange(mine)
        parts = theirs.split_with_sizes([tensor.numel() for tensor in tensors])
        return [_like(part, tensor) for part, tensor in zip(parts, tensors, strict=True)]

    def _in_order(self, mine: torch.Tensor, theirs: torch.Tensor) -> list[torch.Tensor]:
        # A list of its own: the tensor may be changed in place later.
        own = mine.clone()
        return [own, theirs] if self.get_rank() == 0 else [theirs, own]


def _checked(op: Any) -> None:
    if op not in (None, torch.distributed.ReduceOp.SUM, torch.distributed.ReduceOp.BXOR):
        raise NotSupported("words are added or XORed when they are opened")


def _reduced(mine: torch.Tensor, theirs: torch.Tensor, op: Any) -> torch.Tensor:
    return mine ^ theirs if op == torch.distributed.ReduceOp.BXOR else mine + theirs


def _words(tensor: torch.Tensor) -> torch.Tensor:
    flat = tensor.detach().reshape(-1)
    if flat.dtype.is_floating_point:
        return flat.to(torch.float64).view(torch.int64)
    return flat.to(torch.int64)


def _like(words: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    if tensor.dtype.is_floating_point:
        # Floats need memory of their own: what was received is a part of a message.
        words = words.clone().view(torch.float64)
    return words.to(tensor.dtype).view(tensor.shape)


def _shape(words: list[int]) -> torch.Size:
    """Check a shape that came from the other party."""
    rank, *extents = words
    if not 0 <= rank <= _MOST_DIMENSIONS or min(extents[:rank], default=0) < 0:
        raise ShareError("a shape from the other party: rank or extents out of range")
    if math.prod(extents[:rank]) > _MOST_WORDS:
        raise LimitExceeded(f"a shape from the other party: more than {_MOST_WORDS} words")
    return torch.Size(extents[:rank])

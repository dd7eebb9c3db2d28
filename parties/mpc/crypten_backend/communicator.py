"""CrypTen's communicator over the parties' stream: every opening is one exchange of the session.

This class has only what two-party computation on shares needs. CrypTen's base class refuses the
rest, in particular send_obj and recv_obj, which pickle.
"""

import threading
from typing import Any

import torch

from parties.mpc.crypten_backend.load import Communicator
from parties.mpc.session import Session
from privedge.errors import NotReady


class _Attached(threading.local):
    """The session of each thread. CrypTen's singletons would mix the shares of two threads."""

    session: Session | None = None


class SessionCommunicator(Communicator):  # type: ignore[misc]  # CrypTen is untyped
    """Uses the session that is attached to the calling thread."""

    _attached = _Attached()

    @classmethod
    def attach(cls, session: Session | None) -> None:
        """Attach `session` to this thread; None detaches."""
        cls._attached.session = session

    @classmethod
    def is_initialized(cls) -> bool:
        return cls._attached.session is not None

    @classmethod
    def get(cls) -> "SessionCommunicator":
        return cls()

    @classmethod
    def session(cls) -> Session:
        """Return the attached session. Raises NotReady if there is none."""
        if cls._attached.session is None:
            raise NotReady("no MPC session is running in this thread")
        return cls._attached.session

    def get_rank(self) -> int:
        return self.session().party

    def get_world_size(self) -> int:
        return 2

    def all_reduce(self, input: Any, op: Any = None, batched: bool = False) -> Any:
        """Open one tensor, or with `batched` a list of them, in a single exchange."""
        tensors = list(input) if batched else [input]
        mine = torch.cat([tensor.reshape(-1) for tensor in tensors])
        theirs = self.session().exchange(mine)
        opened = mine ^ theirs if op == torch.distributed.ReduceOp.BXOR else mine + theirs
        parts = torch.split(opened, [tensor.numel() for tensor in tensors])
        shaped = [part.reshape(t.shape) for part, t in zip(parts, tensors, strict=True)]
        return shaped if batched else shaped[0]

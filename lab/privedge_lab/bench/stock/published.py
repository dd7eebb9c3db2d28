"""CrypTen's names, nothing replaced. The only module beside the MPC backend that imports CrypTen.

Importing the backend's `load` registers the stub for the torch module that CrypTen misses; it
replaces nothing else until its `use` is called, which the bench never does.
"""

from privedge.mpc.crypten_backend import load  # noqa: F401, I001  # before crypten: see above

import crypten
import crypten.communicator
from crypten.config import cfg
from crypten.mpc.provider.ttp_provider import TTPServer

__all__ = ["TTPServer", "cfg", "communicator", "crypten", "provider"]


def communicator() -> crypten.communicator.Communicator:
    """This process's communicator, with its counters."""
    return crypten.communicator.get()


def provider() -> crypten.mpc.provider.provider.TupleProvider:
    """Where this process's tuples come from."""
    return crypten.mpc.get_default_provider()

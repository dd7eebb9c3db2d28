"""CrypTen's names, unpatched. Besides the MPC backend, only this module imports CrypTen.

Importing the backend's `load` registers the stub for the torch module that CrypTen lacks. It
replaces nothing else until its `use` is called, which the bench never does.
"""

from parties.mpc.crypten_backend import load  # noqa: F401, I001  # before crypten: see above

import crypten
import crypten.communicator
from crypten.config import cfg
from crypten.mpc.provider.ttp_provider import TTPServer

__all__ = ["TTPServer", "cfg", "communicator", "crypten", "provider"]


def communicator() -> crypten.communicator.Communicator:
    """Return this process's communicator, with its counters."""
    return crypten.communicator.get()


def provider() -> crypten.mpc.provider.provider.TupleProvider:
    """Return the provider of this process's tuples."""
    return crypten.mpc.get_default_provider()

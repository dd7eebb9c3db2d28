"""A party that kills itself (SIGKILL) at one instant of a refresh, and is the real one otherwise.

    python dying_party.py CLASS.METHOD CALL -- party --config FILE

It dies once that method has returned for the CALL-th time.
"""

import os
import runpy
import signal
import sys

from parties.party.models.registry import Registry
from parties.party.models.share_files import ShareFiles

CLASSES = {each.__name__: each for each in (Registry, ShareFiles)}


def main() -> None:
    """Arm the instant, then be `python -m parties`."""
    where, call, _, *rest = sys.argv[1:]
    name, method = where.split(".")
    original, left = getattr(CLASSES[name], method), [int(call)]

    def dying(*args, **kwargs):
        result = original(*args, **kwargs)
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(CLASSES[name], method, dying)
    sys.argv = ["parties", *rest]
    runpy.run_module("parties", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

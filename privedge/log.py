"""Log lines on standard error: facts (ids, shapes, counts, milliseconds), never values.

Only cli and parties call this; every other module just uses `logging.getLogger(__name__)`.
"""

import logging
import time

_FOR_OPERATORS = "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s"
_FOR_PEOPLE = "privedge: %(levelname)s: %(message)s"


def configure(level: str = "INFO", *, plain: bool = False) -> None:
    """Send records of `level` ("DEBUG" ... "ERROR") and above to standard error.

    With the time in UTC and the module, or `plain`, for who runs a command and waits for it.
    """
    formatter = logging.Formatter(_FOR_PEOPLE if plain else _FOR_OPERATORS, "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler], force=True)

"""Log lines on standard error: facts (ids, shapes, counts, milliseconds), never values.

Called by cli and parties only; every other module just asks for `logging.getLogger(__name__)`.
"""

import logging
import time


def configure(level: str = "INFO") -> None:
    """Send records of `level` ("DEBUG" ... "ERROR") and above to standard error, times in UTC."""
    formatter = logging.Formatter(
        "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S"
    )
    formatter.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler], force=True)

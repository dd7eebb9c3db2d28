"""Log lines on standard error: facts (ids, shapes, counts, milliseconds), never values.

A line about queries carries their ids, the same at the client, both parties, their workers and the
dealer. The code that logs need not know them: whoever begins the work of a query says so (`about`,
`name_requests`).

Only cli and parties call `configure`; every other module uses `logging.getLogger(__name__)`.
"""

import json
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

_FOR_OPERATORS = "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s"
_FOR_PEOPLE = "privedge: %(levelname)s: %(message)s"
_SECONDS = "%Y-%m-%dT%H:%M:%S"

_REQUEST_IDS: ContextVar[tuple[str, ...]] = ContextVar("request_ids", default=())


def configure(level: str = "INFO", *, plain: bool = False, json_of: str = "") -> None:
    """Send records of `level` ("DEBUG" ... "ERROR") and above to standard error.

    With the time in UTC and the module; `plain`, for who runs a command and waits for it; or as one
    JSON object a line of the process that `json_of` names ("party 0").
    """
    formatter = _Json(json_of) if json_of else _Text(_FOR_PEOPLE if plain else _FOR_OPERATORS)
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler], force=True)


@contextmanager
def about(request_ids: Sequence[str]) -> Iterator[None]:
    """In this thread, every line within the block is about these queries."""
    token = _REQUEST_IDS.set(tuple(request_ids))
    try:
        yield
    finally:
        _REQUEST_IDS.reset(token)


def name_requests(request_ids: Sequence[str]) -> None:
    """The rest of the present block of `about` is about these queries."""
    _REQUEST_IDS.set(tuple(request_ids))


def request_ids() -> tuple[str, ...]:
    """Return the ids of the queries that this thread works on; empty if it works on none."""
    return _REQUEST_IDS.get()


class _Text(logging.Formatter):
    def __init__(self, form: str) -> None:
        super().__init__(form, _SECONDS)
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        missing = [each for each in request_ids() if each not in line]
        return f"{line} [request {' '.join(missing)}]" if missing else line


class _Json(logging.Formatter):
    def __init__(self, server: str) -> None:
        super().__init__(datefmt=_SECONDS)
        self.converter = time.gmtime
        self._server = server

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            "time": f"{self.formatTime(record, self.datefmt)}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "server": self._server,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if ids := request_ids():
            fields["request_id"] = ids[0] if len(ids) == 1 else ids
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields)

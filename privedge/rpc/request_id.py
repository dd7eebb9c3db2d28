"""The ids of the queries that a call is made for, in its metadata. They serve logs only.

Whoever may call may send them, so they decide nothing, and of a caller that is no server only one
counts. A client's own id is in its question, which a party reads later
(privedge/sharing/question.py).
"""

import re
from collections.abc import Sequence

import grpc

from privedge import log
from privedge.identity.roles import Role

KEY = "privedge-request-id"
_ID = re.compile("[0-9a-f]{32}")
# The metadata of a call has 4 KiB; these take half of it.
_MOST = 64

Metadata = tuple[tuple[str, str], ...]


def metadata(request_ids: Sequence[str]) -> Metadata:
    """Return what to send with a call for these queries; of more than 64, the first."""
    return ((KEY, ",".join(request_ids[:_MOST])),) if request_ids else ()


def passed_on() -> Metadata:
    """Return what to send with a call for the queries that this thread works on."""
    return metadata(log.request_ids())


def received(context: grpc.ServicerContext, role: Role) -> tuple[str, ...]:
    """Return the ids that a caller of this role sent; those that are none are left out.

    Only a server makes calls for several queries. Others must not make long lines.
    """
    most = _MOST if role.serves else 1
    for key, value in context.invocation_metadata() or ():
        if key == KEY and isinstance(value, str):
            return tuple(each for each in value.split(",")[:most] if _ID.fullmatch(each))
    return ()

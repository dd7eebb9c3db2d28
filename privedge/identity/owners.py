"""The names of a cohort's owners, which are told in pages and compared by a digest. Pure."""

import hashlib
from collections.abc import Iterable, Sequence
from itertools import islice

_DOMAIN = b"privedge owners v1\n"
# What one page has at most, so that it fits a message; a name has 64 letters at most.
_PAGE_BYTES = 1 << 20
# More than any cohort has, so that no party can tell names for ever.
MOST_OWNERS = 1 << 24


def owners_sha256(names: Iterable[str]) -> bytes:
    """SHA-256 over the names in the order of the answer vector, each with a line's end."""
    found = hashlib.sha256(_DOMAIN)
    for name in names:
        found.update(f"{name}\n".encode())
    return found.digest()


def page_of(names: Sequence[str], start: int) -> list[str]:
    """As many names from `start` on as fit one page."""
    page, size = list[str](), 0
    for name in islice(names, start, None):
        size += len(name) + 2
        if page and size > _PAGE_BYTES:
            break
        page.append(name)
    return page

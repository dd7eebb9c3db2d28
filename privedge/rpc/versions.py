"""The versions that servers tell each other, and how two servers' versions are compared.

Versions of stored files are constants beside the code that reads them. docs/reference/versions.md
lists all versions of both kinds, and what raises each; a test compares it with the code.
"""

import re
from dataclasses import dataclass

from privedge import __version__

# Raised when a message or a call changes so that an older server or client would misread it.
WIRE = 1
# Raised when the frames between the workers, the order of their operations, the form of prepared
# weights or the encoding of what they agree on change.
MPC = 7

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")


@dataclass(frozen=True)
class Versions:
    """What a server says it is. The release is for people: it is never compared."""

    release: str = __version__
    wire: int = WIRE
    mpc: int = MPC


def differences(mine: Versions, theirs: Versions) -> tuple[str, ...]:
    """One line for each version that differs: "mpc: 5 here, 4 there"."""
    pairs = {"wire": (mine.wire, theirs.wire), "mpc": (mine.mpc, theirs.mpc)}
    return tuple(
        f"{name}: {here} here, {there} there"
        for name, (here, there) in pairs.items()
        if here != there
    )


def plain(text: str) -> str:
    """A word that another server wrote, if it is one: it goes into logs and is compared."""
    return text if _WORD.fullmatch(text) else "unreadable"

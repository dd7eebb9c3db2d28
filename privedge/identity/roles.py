"""Identities: one role and one name, carried in a certificate as a URI.

    spiffe://privedge/<role>/<name>

A server (a party, the dealer, the split server) exists once, so its name is its role. Its
certificate also has the DNS name <role>.privedge, which callers demand, so no server can
impersonate another.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from privedge.errors import CertificateError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# What an answer says that names nobody. An owner of this name could not be told from a stranger.
NOBODY = "unknown"
OWNER_NAME = re.compile(rf"(?!(?i:{NOBODY})\Z){NAME.pattern}")
# The whole name of a cohort; whatever crosses the wire is checked more leniently.
COHORT_NAME = r"[a-z0-9][a-z0-9_-]{0,63}"
_OURS = "spiffe://privedge/"
_URI = re.compile(_OURS + r"([a-z0-9]+)/([^/]+)")


class Role(StrEnum):
    """A role decides what a caller may do; rpc/access.py has the table."""

    OWNER = "owner"
    CLIENT = "client"
    PARTY0 = "party0"
    PARTY1 = "party1"
    DEALER = "dealer"
    SPLIT = "split"
    ADMIN = "admin"

    @staticmethod
    def party(index: int) -> "Role":
        """The role of party 0 or party 1. Raises ValueError for another index."""
        return Role(f"party{index}")

    @property
    def serves(self) -> bool:
        """Whether this role is a server's."""
        return self in (Role.PARTY0, Role.PARTY1, Role.DEALER, Role.SPLIT)

    @property
    def host(self) -> str:
        """The DNS name in a server's certificate."""
        return f"{self}.privedge"

    @property
    def label(self) -> str:
        """The role's name for people: "party 0", "the dealer"."""
        labels = {
            Role.PARTY0: "party 0",
            Role.PARTY1: "party 1",
            Role.DEALER: "the dealer",
            Role.SPLIT: "the split server",
        }
        return labels.get(self, str(self))


@dataclass(frozen=True)
class Identity:
    """A role and a name. Raises CertificateError for a name that no certificate may carry."""

    role: Role
    name: str

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise CertificateError(
                f"{self.role}: a name is 1 to 64 letters, digits, dots, dashes or underscores "
                "and starts with a letter or digit"
            )
        if self.role is Role.OWNER and not OWNER_NAME.fullmatch(self.name):
            raise CertificateError(
                f"owner: no owner can be called {self.name}, which is the answer for strangers; "
                "choose another name"
            )
        if self.role.serves and self.name != self.role:
            raise CertificateError(f"{self.role}: there is only one; its name must be {self.role}")

    @property
    def uri(self) -> str:
        """The URI that a certificate of this identity carries."""
        return f"spiffe://privedge/{self.role}/{self.name}"

    @staticmethod
    @lru_cache(maxsize=1024)
    def from_uri(uri: str) -> "Identity":
        """Parse a `uri`. Raises CertificateError for any other text."""
        match = _URI.fullmatch(uri)
        if match is None or match[1] not in set(Role):
            raise CertificateError("the certificate names no privedge role; issue another one")
        return Identity(Role(match[1]), match[2])

    @staticmethod
    def from_uris(uris: Iterable[str]) -> "Identity":
        """Return the identity among the URIs of a certificate; those of other systems do not count.

        Raises CertificateError if there is none, or more than one.
        """
        ours = [uri for uri in uris if uri.startswith(_OURS)]
        if len(ours) > 1:
            raise CertificateError("the certificate names several privedge roles; one is needed")
        return Identity.from_uri(ours[0] if ours else "")

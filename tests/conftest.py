"""What every test may rely on."""

from collections.abc import Callable
from pathlib import Path

import pytest

# Before any test imports grpc: it reads the TLS floor once.
import privedge.rpc
from privedge.config import TlsFiles
from privedge.identity.certificates import create_authority, issue
from privedge.identity.roles import Identity, Role

assert privedge.rpc.tls_floor.in_force

TlsFor = Callable[..., TlsFiles]


@pytest.fixture(scope="session")
def tls_for(tmp_path_factory: pytest.TempPathFactory) -> TlsFor:
    """tls_for(role, name) -> the TlsFiles of that identity, all of one authority."""
    return authority_in(tmp_path_factory.mktemp("certs"))


def authority_in(folder: Path) -> TlsFor:
    """A fresh authority in `folder`, as a function that issues certificates once each."""
    create_authority(folder)
    issued: dict[Identity, TlsFiles] = {}

    def tls(role: Role, name: str | None = None, *, days: int = 90) -> TlsFiles:
        identity = Identity(role, name or role.value)
        if identity not in issued:
            paths = issue(folder, identity, days=days)
            issued[identity] = TlsFiles(ca=paths.ca, certificate=paths.certificate, key=paths.key)
        return issued[identity]

    return tls


@pytest.fixture
def another_authority(tmp_path: Path) -> TlsFor:
    """Like `tls_for`, of an authority that nobody else trusts."""
    return authority_in(tmp_path / "other")

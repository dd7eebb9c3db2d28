"""What every test may rely on."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Before any test imports grpc: it reads the TLS floor once.
import privedge.rpc
from privedge.config import TlsFiles
from privedge.identity.certificates import create_authority, issue
from privedge.identity.roles import Identity, Role

assert privedge.rpc.tls_floor.in_force
# A shell starts what runs in the background deaf to Ctrl-C, and every process it starts in turn.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

TlsFor = Callable[..., TlsFiles]


# First of all: pytest-xdist reads the marks in the same hook, and what comes later is not seen.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With `-n 2`: tests that start servers one after the other, the others beside them."""
    for item in items:
        servers = "integration" in item.path.parts
        item.add_marker(pytest.mark.xdist_group("servers" if servers else item.path.name))


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

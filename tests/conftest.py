"""Fixtures and settings for all tests."""

import logging
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Import this before any test imports grpc, which reads the minimum TLS version only once.
import privedge.rpc
from privedge.config import TlsFiles
from privedge.identity.certificates import create_authority, issue
from privedge.identity.roles import Identity, Role
from tests.postgres_server import PostgresServer, programs

assert privedge.rpc.tls_floor.in_force
# A shell makes background commands ignore Ctrl-C, and their child processes inherit this.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The time of an example shows how busy the machine is, and nothing about the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

TlsFor = Callable[..., TlsFiles]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse names that differ from process to process: pytest-xdist would run no test at all."""
    unstable = [item.nodeid for item in items if " at 0x" in item.nodeid]
    if unstable:
        raise pytest.UsageError(f"give its cases ids of text: {unstable[0]}")


@pytest.fixture(autouse=True)
def log_as_before() -> Iterator[None]:
    """A command that a test calls in this process says what is logged, for the whole process."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    # Those that pytest adds for a part of a test come and go by themselves.
    for handler in [each for each in root.handlers if each not in handlers]:
        if type(handler) is logging.StreamHandler:
            root.removeHandler(handler)


@pytest.fixture(scope="session")
def tls_for(tmp_path_factory: pytest.TempPathFactory) -> TlsFor:
    """Return tls_for(role, name) -> the TlsFiles of that identity, all of one authority."""
    return authority_in(tmp_path_factory.mktemp("certs"))


def authority_in(folder: Path) -> TlsFor:
    """Make an authority in `folder`. Returns a function that issues each certificate once."""
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
    """Return a function like `tls_for`, for an authority that nobody else trusts."""
    return authority_in(tmp_path / "other")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running PostgreSQL. A test that stops it starts it again."""
    if programs() is None:
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    with PostgresServer() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def registry_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, once of each kind that a registry may be in."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'registry.sqlite'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.new_database()

"""gRPC credentials from files: mutual TLS 1.3 and nothing less (rpc/tls_floor.py says how).

Sees this process's private key, and passes it only to gRPC.
"""

import logging
import os
from pathlib import Path
from typing import Any

import grpc

from privedge.config import TlsFiles
from privedge.errors import CertificateError, ConfigError
from privedge.identity.checking import Checked, check_files
from privedge.identity.pem_files import as_pem, read_chain
from privedge.identity.roles import Role
from privedge.rpc import tls_floor

log = logging.getLogger(__name__)

# Of each file, when it was written and which one it is.
Stamp = tuple[tuple[int, int], ...]


def require_role(tls: TlsFiles | None, role: Role) -> None:
    """Raise CertificateError, naming the file, if a server's certificate is not for `role`.

    Such a server would start, but every caller would refuse it. Without TLS nothing is checked.
    """
    if tls is not None and (found := preflight(tls).identity.role) is not role:
        raise CertificateError(
            f"{tls.certificate}: is for the role {found}, this is {role.label}; "
            f"give it one for {role}"
        )


def preflight(tls: TlsFiles) -> Checked:
    """Check the files, and return what they hold.

    Raises CertificateError for files that TLS would refuse without an explanation. Raises
    ConfigError if gRPC was imported before privedge and would still accept TLS 1.2.
    """
    if not tls_floor.in_force:
        raise ConfigError(
            "grpc was imported before privedge, so TLS 1.2 would be accepted; import "
            f"privedge first or set {tls_floor.VARIABLE}={tls_floor.SUITES}"
        )
    return check_files(tls)


def stamp(tls: TlsFiles) -> Stamp:
    """Return what changes whenever one of the files does."""
    return tuple(map(stamp_of, paths_of(tls)))


def paths_of(tls: TlsFiles) -> tuple[str, ...]:
    """Return all files. Texts, because a look at a Path takes twice as long."""
    return tuple(map(str, (*tls.trusted, tls.certificate, tls.key)))


def stamp_of(path: str | Path) -> tuple[int, int]:
    """Return when a file was written, and which one it is."""
    try:
        found = os.stat(path)
    except OSError:  # a file that is being replaced may be absent for a moment
        return (0, 0)
    return (found.st_mtime_ns, found.st_ino)


def client_credentials(tls: TlsFiles, server: Role) -> grpc.ChannelCredentials:
    """Return credentials to dial `server` with, whose certificate must be vouched for by its pin,
    or by `ca` if it has none. Raises as `preflight` does.
    """
    mine = preflight(tls)
    vouching = tls.vouching_for(server)
    credentials: grpc.ChannelCredentials = grpc.ssl_channel_credentials(
        root_certificates=as_pem(read_chain(vouching)),
        private_key=mine.key,
        certificate_chain=mine.sent,
    )
    return credentials


def server_credentials(tls: TlsFiles) -> grpc.ServerCredentials:
    """Return credentials to listen with; a caller needs a certificate of the same authority.

    The files are checked for changes at every handshake, so certificates can be renewed while the
    server runs. Open connections are not affected. Raises as `preflight` does.
    """
    mine = preflight(tls)
    # None means "keep the present one"; gRPC's type stubs lack this.
    renewal: Any = _Renewal(tls)
    credentials: grpc.ServerCredentials = grpc.dynamic_ssl_server_credentials(
        _server_configuration(mine), renewal, require_client_authentication=True
    )
    return credentials


def _server_configuration(mine: Checked) -> grpc.ServerCertificateConfiguration:
    configuration: grpc.ServerCertificateConfiguration = grpc.ssl_server_certificate_configuration(
        [(mine.key, mine.sent)], root_certificates=mine.trusted
    )
    return configuration


class _Renewal:
    """Read the files again if one has changed, but keep the old ones if the new are unusable."""

    def __init__(self, tls: TlsFiles) -> None:
        self._tls = tls
        self._seen = stamp(tls)

    def __call__(self) -> grpc.ServerCertificateConfiguration | None:
        now = stamp(self._tls)
        if now == self._seen:
            return None
        self._seen = now
        try:
            renewed = _server_configuration(preflight(self._tls))
        except (CertificateError, OSError) as error:
            log.error("kept the old certificate: %s", error)
            return None
        log.info("took over the renewed certificate %s", self._tls.certificate)
        return renewed

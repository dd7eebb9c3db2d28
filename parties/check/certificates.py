"""A server's certificate files, its pins, and who may call it."""

import datetime
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from parties.config.server import ServerConfig
from privedge.config import TlsFiles, TlsPins
from privedge.errors import CertificateError, ConfigError
from privedge.findings import Finding, hint
from privedge.identity.checking import fault_of_end
from privedge.identity.pem_files import read_chain
from privedge.identity.roles import Identity, Role
from privedge.rpc.callers import DenyList, utc_now
from privedge.rpc.tls import preflight, require_role
from privedge.rpc.witness import Witness

_SERVERS = (Role.PARTY0, Role.PARTY1, Role.DEALER)


def check_certificates(config: ServerConfig, role: Role) -> Iterator[Finding]:
    """What is wrong with the files of the server `role`."""
    if config.tls is None:
        yield hint("tls", "insecure_loopback = true: no TLS, so anyone here can claim any name")
        return
    try:
        require_role(config.tls, role)
        ends = preflight(config.tls).ends
    except (CertificateError, ConfigError, OSError) as error:
        yield Finding("tls", str(error))
        return
    now = utc_now()
    if line := fault_of_end(config.tls.certificate, ends, now):
        yield Finding("tls", line)
    yield from _pins(config.tls, now)
    yield from _one_authority(config.tls)


def check_callers(config: ServerConfig, role: Role) -> Iterator[Finding]:
    """What is wrong with the lists of admins and of those who are denied."""
    if not config.admins:
        yield hint("admins", "is empty: no admin may read this server's status; name them")
    if config.denied is None:
        return
    try:
        denied = DenyList(config.denied, Witness())
    except ConfigError as error:
        yield Finding("denied", str(error))
        return
    whom = {each.label: Identity(each, each.value) for each in _SERVERS}
    whom |= {f"the admin {name}": Identity(Role.ADMIN, name) for name in config.admins}
    for label, identity in whom.items():
        if denied.holds(identity.uri, _own_serial(config.tls) if identity.role is role else None):
            yield Finding("denied", f"{config.denied}: denies {label}; remove that line")


def _own_serial(tls: TlsFiles | None) -> int | None:
    try:
        return None if tls is None else read_chain(tls.certificate)[0].serial_number
    except CertificateError:  # said already
        return None


def _pins(tls: TlsFiles, now: datetime.datetime) -> Iterator[Finding]:
    for name in TlsPins.model_fields:
        path: Path | None = getattr(tls.pins, name)
        if path is None:
            continue
        try:
            ends = max(each.not_valid_after_utc for each in read_chain(path))
        except CertificateError as error:
            yield Finding("tls", f"pins.{name}: {error}")
            continue
        if ends <= now:
            yield Finding("tls", f"pins.{name}: all of {path} has expired; put the new one there")


def _one_authority(tls: TlsFiles) -> Iterator[Finding]:
    """Hint at an authority that may issue the certificates of several servers."""
    of = {role: _keys(tls.vouching_for(role.value)) for role in _SERVERS}
    shared = [
        role.label
        for role in _SERVERS
        if any(of[role] & of[other] for other in _SERVERS if other is not role)
    ]
    if shared:
        yield hint(
            "tls",
            f"an authority is believed for several servers ({', '.join(shared)}) and can pose as "
            "each; pin each one's own ([tls.pins])",
        )


def _keys(path: Path) -> frozenset[bytes]:
    """The public keys in a file; none if it cannot be read, which is said already."""
    try:
        return frozenset(
            each.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            for each in read_chain(path)
        )
    except CertificateError:
        return frozenset()

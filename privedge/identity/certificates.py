"""A certificate authority of files, and the certificates that it issues.

Sees private keys. They are written with mode 0600, never over another file, and never printed.
All keys are ECDSA P-256; TLS relies on it (rpc/tls_floor.py).
"""

import datetime
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from privedge.config import TlsFiles
from privedge.errors import CertificateError
from privedge.identity.checking import check_dates, read_chain, read_key
from privedge.identity.roles import Identity

_AUTHORITY = "privedge development CA"
# A certificate is valid from a little before now, for machines whose clock is behind.
_LEEWAY = datetime.timedelta(minutes=5)


def create_authority(folder: Path, *, days: int = 365) -> None:
    """Write `ca.crt` and `ca.key` into `folder`, creating it.

    Raises CertificateError if either file exists or cannot be written.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _AUTHORITY)])
    certificate = (
        _dated(days)
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _store(folder / "ca.crt", certificate, folder / "ca.key", key)


def issue(folder: Path, identity: Identity, *, days: float = 90) -> TlsFiles:
    """Write a certificate for `identity`, signed by the authority in `folder`, and its key.

    The files are <role>-<name>.crt and .key, for servers <role>.crt and .key. Raises
    CertificateError if they exist, or if the authority is missing or unusable.
    """
    authority, authority_key = _authority(folder)
    key = ec.generate_private_key(ec.SECP256R1())
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(identity.uri)]
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if identity.role.serves:
        names.append(x509.DNSName(identity.role.host))
        purposes.append(ExtendedKeyUsageOID.SERVER_AUTH)
    certificate = (
        _dated(days)
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, identity.name)]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
            critical=False,
        )
        .sign(authority_key, hashes.SHA256())
    )
    stem = identity.name if identity.role.serves else f"{identity.role}-{identity.name}"
    paths = TlsFiles(
        ca=folder / "ca.crt", certificate=folder / f"{stem}.crt", key=folder / f"{stem}.key"
    )
    _store(paths.certificate, certificate, paths.key, key)
    return paths


# --- Reading --------------------------------------------------------------------------------------


def _authority(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    if not (folder / "ca.key").exists():
        raise CertificateError(f"{folder}: no ca.key; create one with `privedge certs init`")
    certificate, key = read_chain(folder / "ca.crt")[0], read_key(folder / "ca.key")
    check_dates(folder / "ca.crt", certificate)
    return certificate, key


# --- Writing --------------------------------------------------------------------------------------


def _dated(days: float) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _LEEWAY)
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _store(
    certificate_path: Path,
    certificate: x509.Certificate,
    key_path: Path,
    key: ec.EllipticCurvePrivateKey,
) -> None:
    """Write both files, or neither."""
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = certificate.public_bytes(serialization.Encoding.PEM)
    made: list[Path] = []
    try:
        certificate_path.parent.mkdir(parents=True, exist_ok=True)
        for path, raw, mode in ((certificate_path, public, 0o644), (key_path, secret, 0o600)):
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            made.append(path)
            with os.fdopen(handle, "wb") as file:
                file.write(raw)
    except OSError as error:
        for path in made:
            path.unlink()
        if isinstance(error, FileExistsError):
            reason = "already exists and is not overwritten; move it away first"
        else:
            reason = f"cannot be written: {error.strerror}"
        raise CertificateError(f"{error.filename or key_path}: {reason}") from None

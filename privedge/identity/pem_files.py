"""Certificates and keys in PEM files, and who may read a key.

Sees a private key.
"""

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from privedge import regular_file
from privedge.errors import CertificateError

_BEGIN = b"-----BEGIN CERTIFICATE-----"


def read_chain(path: Path) -> list[x509.Certificate]:
    """Read the certificates of a PEM file. Raises CertificateError."""
    raw = read(path)
    try:
        found = x509.load_pem_x509_certificates(raw)
    except ValueError:
        raise CertificateError(f"{path}: not a certificate in PEM form") from None
    if (begun := raw.count(_BEGIN)) > len(found):
        cut = begun - len(found)
        raise CertificateError(f"{path}: {cut} of its {begun} certificates cut off; copy it again")
    return found


def as_pem(chain: Iterable[x509.Certificate]) -> bytes:
    """Write certificates as TLS reads them.

    TLS takes no byte order mark, and no file that was joined to another without a line's end.
    """
    return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in chain)


def read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Read a private key that is not encrypted. Raises CertificateError."""
    raw = read(path)
    _check_mode(path)
    try:
        key = serialization.load_pem_private_key(raw, password=None)
    except (ValueError, TypeError):
        raise CertificateError(f"{path}: not an unencrypted private key in PEM form") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateError(f"{path}: not an ECDSA key; TLS 1.3 here needs one")
    return key


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Write a key as TLS reads it."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def read(path: Path) -> bytes:
    """Return what a file holds. Raises CertificateError."""
    try:
        return regular_file.read(path)
    except FileNotFoundError:
        raise CertificateError(f"{path}: no such file; see `privedge certs --help`") from None
    except OSError as error:
        raise CertificateError(f"{path}: cannot be read: {error.strerror}") from None


def _check_mode(path: Path) -> None:
    """Apply the rule of PostgreSQL's clients, where files have an owner at all."""
    if not hasattr(os, "geteuid"):
        return
    found = path.stat()
    fault = fault_of_mode(found.st_uid, stat.S_IMODE(found.st_mode), os.geteuid())
    if fault is not None:
        raise CertificateError(f"{path}: {fault.format(path=path)}")


def fault_of_mode(owner: int, mode: int, user: int) -> str | None:
    """Return what is wrong with a key file of `owner` for a process of `user`, if anything.

    An orchestrator's secrets belong to root, and a process that is not root reads them by its
    group. Any other file must be the user's own, and nobody else's to read.
    """
    if owner == 0:
        allowed = 0o740
        cure = "others can read or change this key; run `chmod 600 {path}`, or 640 for its group"
    elif owner == user:
        allowed, cure = 0o700, "others can read this key; run `chmod 600 {path}`"
    else:
        return "belongs to another user; it must be this user's or root's"
    return cure if mode & 0o777 & ~allowed else None

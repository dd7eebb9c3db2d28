"""A certificate authority of files, and the certificates that it issues.

Sees private keys. They are written with mode 0600, never over another file, and never printed.
All keys are ECDSA P-256; TLS relies on it (rpc/tls_floor.py).
"""

import contextlib
import datetime
import os
import secrets
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from privedge.config import TlsFiles
from privedge.errors import CertificateError
from privedge.identity.checking import Checked, check_dates, check_files, check_key, identity_of
from privedge.identity.pem_files import read, read_chain, read_key
from privedge.identity.roles import Identity

_PEM = serialization.Encoding.PEM
# A certificate is valid from a little before now, for machines whose clock is behind.
_LEEWAY = datetime.timedelta(minutes=5)


def create_authority(folder: Path, *, days: int = 365) -> None:
    """Write `ca.crt` and `ca.key` into `folder`, creating it.

    Raises CertificateError if either file exists or cannot be written.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    # Random, so that a chain tells two authorities apart.
    called = f"privedge CA {secrets.token_hex(4)}"
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, called)])
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
    CertificateError if they exist, here or on a system that ignores case, or if the authority is
    missing or unusable.
    """
    _require_apart(folder, identity)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _issued(folder, identity, key.public_key(), days)
    stem = stem_of(identity)
    paths = TlsFiles(
        ca=folder / "ca.crt", certificate=folder / f"{stem}.crt", key=folder / f"{stem}.key"
    )
    _store(paths.certificate, certificate, paths.key, key)
    return paths


def request(folder: Path, identity: Identity) -> tuple[Path, Path]:
    """Write a request for a certificate (<stem>.csr) and its key (<stem>.key) into `folder`.

    A key that is there already is used, and stays as it is. Returns the paths of both. Raises
    CertificateError.
    """
    _require_apart(folder, identity)
    stem = stem_of(identity)
    asked, kept = folder / f"{stem}.csr", folder / f"{stem}.key"
    key = read_key(kept) if kept.exists() else ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, identity.name)])
    uri = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity.uri)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    raw = builder.add_extension(uri, critical=False).sign(key, hashes.SHA256()).public_bytes(_PEM)
    if not kept.exists():
        _write_new((kept, _private(key), 0o600))
    replace(asked, raw)
    return asked, kept


def sign(
    folder: Path, asked: Path, identity: Identity, out: Path, *, days: float = 90
) -> x509.Certificate:
    """Sign a request with the authority in `folder`, and write the certificate to `out`.

    Only the key comes from the request: `identity` is what the authority says. Raises
    CertificateError if the request does not prove its key, or `out` exists.
    """
    try:
        found = x509.load_pem_x509_csr(read(asked))
    except ValueError:
        raise CertificateError(f"{asked}: not a request in PEM form") from None
    if not found.is_signature_valid:
        raise CertificateError(f"{asked}: was not signed with the key that it asks for")
    key = found.public_key()
    check_key(asked, key)
    certificate = _issued(folder, identity, key, days)
    _write_new((out, certificate.public_bytes(_PEM), 0o644))
    return certificate


def renew(old: TlsFiles, new: Path) -> Checked:
    """Replace a certificate file by `new` at once, so that a server that runs takes it over.

    Raises CertificateError, and changes nothing, unless `new` is good, belongs to the same key and
    identity, and ends later.
    """
    certificate = read_chain(old.certificate)[0]
    checked = check_files(old.model_copy(update={"certificate": new}))
    if identity_of(old.certificate, certificate) != checked.identity:
        raise CertificateError(f"{new}: is for {checked.identity.uri}, the old one is not")
    if checked.chain[0].not_valid_after_utc <= certificate.not_valid_after_utc:
        raise CertificateError(f"{new}: does not end later than {old.certificate}")
    replace(old.certificate, checked.sent)
    return checked


def serial_of(certificate: x509.Certificate) -> str:
    """Return the serial number in hexadecimal, two digits for each byte, as other tools show it."""
    number = certificate.serial_number
    return number.to_bytes((number.bit_length() + 7) // 8).hex()


def stem_of(identity: Identity) -> str:
    """Return how the files of an identity are called, without the ending."""
    return identity.name if identity.role.serves else f"{identity.role}-{identity.name}"


def _require_apart(folder: Path, identity: Identity) -> None:
    """Raise CertificateError if another's files have the same name but for upper and lower case."""
    stem = stem_of(identity)
    with contextlib.suppress(OSError):  # a folder that cannot be read is refused as it is used
        for other in sorted(folder.iterdir()):
            if other.stem != stem and other.stem.casefold() == stem.casefold():
                raise CertificateError(
                    f"{other}: is there for another name, and on many systems {stem}.key would be "
                    "the same file; choose a name that differs in more than upper and lower case"
                )


# --- Reading --------------------------------------------------------------------------------------


def _authority(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    if not (folder / "ca.key").exists():
        raise CertificateError(f"{folder}: no ca.key; create one with `privedge certs init`")
    certificate, key = read_chain(folder / "ca.crt")[0], read_key(folder / "ca.key")
    check_dates(folder / "ca.crt", certificate)
    return certificate, key


# --- Writing --------------------------------------------------------------------------------------


def _issued(
    folder: Path, identity: Identity, key: CertificatePublicKeyTypes, days: float
) -> x509.Certificate:
    authority, authority_key = _authority(folder)
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(identity.uri)]
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if identity.role.serves:
        names.append(x509.DNSName(identity.role.host))
        purposes.append(ExtendedKeyUsageOID.SERVER_AUTH)
    return (
        _dated(days)
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, identity.name)]))
        .issuer_name(authority.subject)
        .public_key(key)
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
    public = certificate.public_bytes(_PEM)
    _write_new((certificate_path, public, 0o644), (key_path, _private(key), 0o600))


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _write_new(*files: tuple[Path, bytes, int]) -> None:
    """Write all files, each with its mode, or none. No file is overwritten."""
    made: list[Path] = []
    path = files[0][0]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for path, raw, mode in files:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            made.append(path)
            with os.fdopen(handle, "wb") as file:
                file.write(raw)
    except OSError as error:
        for each in made:
            each.unlink()
        if isinstance(error, FileExistsError):
            reason = "already exists and is not overwritten; move it away first"
        else:
            reason = f"cannot be written: {error.strerror}"
        raise CertificateError(f"{error.filename or path}: {reason}") from None


def replace(path: Path, raw: bytes) -> None:
    """Write a public file in one step: whoever reads it meanwhile gets the old one or the new."""
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(raw)
        part.chmod(0o644)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise CertificateError(f"{path}: cannot be written: {error.strerror}") from None

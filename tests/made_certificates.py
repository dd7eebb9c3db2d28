"""Certificates of every shape, also of shapes that nobody should issue."""

import datetime
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID as Purpose
from cryptography.x509.oid import NameOID, ObjectIdentifier

from privedge.config import TlsFiles
from privedge.identity.roles import Identity, Role

CLIENT, SERVER = Identity(Role.CLIENT, "ward"), Identity(Role.PARTY0, "party0")
NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)
BOTH = (Purpose.CLIENT_AUTH, Purpose.SERVER_AUTH)
PEM = serialization.Encoding.PEM


@dataclass(frozen=True)
class Made:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: object

    @property
    def pem(self):
        return self.certificate.public_bytes(PEM)

    @property
    def key_pem(self):
        return self.key.private_bytes(
            PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


@dataclass(frozen=True)
class How:
    """What a certificate says."""

    ca: bool = False
    path_length: int | None = None
    days: tuple[int, int] = (-2, 2)
    purposes: tuple[ObjectIdentifier, ...] | None = BOTH
    usage: str | None = "digital_signature"
    uris: tuple[str, ...] = (CLIENT.uri,)
    hosts: tuple[str, ...] = ()
    key: object = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    extra: tuple[x509.ExtensionType, ...] = ()


def authority(**changes):
    return How(**{"ca": True, "purposes": None, "usage": "key_cert_sign", "uris": (), **changes})


def server(**changes):
    return How(**{"uris": (SERVER.uri,), "hosts": (SERVER.role.host,), **changes})


USAGES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
    "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


def make(name, how, issuer=None):
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(how.key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + how.days[0] * DAY)
        .not_valid_after(NOW + how.days[1] * DAY)
        .add_extension(x509.BasicConstraints(how.ca, how.path_length), critical=True)
    )
    names = [x509.UniformResourceIdentifier(uri) for uri in how.uris]
    names += [x509.DNSName(host) for host in how.hosts]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if how.usage is not None:
        usage = x509.KeyUsage(**{each: each == how.usage for each in USAGES})
        builder = builder.add_extension(usage, critical=True)
    if how.purposes is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(how.purposes), critical=False)
    for each in how.extra:
        builder = builder.add_extension(each, critical=True)
    return Made(builder.sign(issuer.key if issuer else how.key, hashes.SHA256()), how.key)


def write(folder, name, made, sent, trusted):
    """The TlsFiles of a certificate: NAME.crt with `sent` after it, NAME.key, NAME.ca.crt."""
    files = TlsFiles(
        ca=folder / f"{name}.ca.crt", certificate=folder / f"{name}.crt", key=folder / f"{name}.key"
    )
    files.ca.write_bytes(b"".join(each.pem for each in trusted))
    files.certificate.write_bytes(b"".join(each.pem for each in (made, *sent)))
    files.key.write_bytes(made.key_pem)
    files.key.chmod(0o600)
    return files

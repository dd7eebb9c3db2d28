"""A check of certificate files before TLS uses them: TLS itself would not say what is wrong.

What passes here passes TLS at the other side, if that trusts the same authorities. Four rules are
stricter than TLS: keys are ECDSA (rpc/tls_floor.py), a key file is private, a certificate names
exactly one role, and a server's certificate names that server and not all of them (`*.privedge`).

Sees a private key, which it only compares with its certificate and hands to rpc/tls.py.
"""

import datetime
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from privedge.config import TlsFiles
from privedge.errors import CertificateError
from privedge.identity.pem_files import as_pem, key_pem, read_chain, read_key
from privedge.identity.roles import Identity, Role

# The curves that gRPC's TLS offers for signatures.
_CURVES = ("secp256r1", "secp384r1")
WARN_BEFORE = datetime.timedelta(days=14)
_Extension = TypeVar("_Extension", bound=x509.ExtensionType)
_PURPOSES = {ExtendedKeyUsageOID.CLIENT_AUTH: "dial", ExtendedKeyUsageOID.SERVER_AUTH: "serve"}


@dataclass(frozen=True)
class Checked:
    """Files that were read once and found good.

    chain: the certificate, those between, and the one of the authority.
    trusted, sent, key: what TLS gets (PEM): all trusted authorities, the certificate file, the key.
    """

    identity: Identity
    chain: tuple[x509.Certificate, ...]
    trusted: bytes
    sent: bytes
    key: bytes = field(repr=False)

    @property
    def ends(self) -> datetime.datetime:
        """When the first certificate of the chain does."""
        return min(each.not_valid_after_utc for each in self.chain)


def check_files(tls: TlsFiles) -> Checked:
    """Check the files of one process, and return what they hold.

    Raises CertificateError, naming the file, if

    - a file is missing, or is not PEM or not ECDSA;
    - others can read the key, or it is not the certificate's;
    - the certificate names no role, or not the server that it is for;
    - it may not be used to dial, or to serve if it is a server's;
    - no authority vouches for it now, directly or through others in the file.
    """
    trusted = as_pem(each for path in tls.trusted for each in read_chain(path))
    certificates = read_chain(tls.certificate)
    sent, own = as_pem(certificates), certificates[0]
    key = read_key(tls.key)
    check_key(tls.certificate, own.public_key())
    if key.public_key() != own.public_key():
        raise CertificateError(f"{tls.key}: is not the key of {tls.certificate}")
    identity, chain = check_certificate(tls.certificate, tls.vouching_for)
    return Checked(identity, chain, trusted, sent, key_pem(key))


def check_certificate(
    path: Path, vouching_for: Callable[[str], Path]
) -> tuple[Identity, tuple[x509.Certificate, ...]]:
    """Check a certificate without its key. Return whom it names, and its chain to the authority.

    `vouching_for` gives the file of the authorities for a role. Raises as `check_files`.
    """
    certificates = read_chain(path)
    own = certificates[0]
    check_key(path, own.public_key())
    check_dates(path, own)
    identity = identity_of(path, own)
    chain = _vouched(path, certificates, vouching_for(identity.role))
    for each in chain:
        _check_usage(path, each, identity, leaf=each is own)
    return identity, chain


def path_to(
    own: x509.Certificate,
    between: Sequence[x509.Certificate],
    authorities: Sequence[x509.Certificate],
    now: datetime.datetime,
) -> tuple[x509.Certificate, ...]:
    """Return the certificates from `own` to one of `authorities`, all valid at `now`.

    Raises verification.VerificationError if there is no such path. As in gRPC's TLS, an authority
    need not be its own issuer, and `own` may be among them.
    """
    builder = verification.PolicyBuilder().time(now).store(verification.Store(list(authorities)))
    builder = builder.extension_policies(ca_policy=_issues(), ee_policy=_any())
    return tuple(builder.build_client_verifier().verify(own, list(between)).chain)


def check_statement_chain(
    party: Role,
    chain: Sequence[x509.Certificate],
    authorities: Path,
    at: datetime.datetime,
) -> ec.EllipticCurvePublicKey:
    """Return the key with which `party` signed a statement at the time `at`.

    chain: its own certificate first. authorities: the file of those who may issue it (PEM). Raises
    CertificateError unless all of these were valid then, and are what TLS would take for `party`.
    """
    named = Path(party.label)
    if not chain:
        raise CertificateError(f"{party.label}: no certificate came with the signature")
    own = chain[0]
    key = own.public_key()
    check_key(named, key)
    if not isinstance(key, ec.EllipticCurvePublicKey):  # for the type checker
        raise CertificateError(f"{party.label}: not an ECDSA certificate")
    if (found := identity_of(named, own)).role is not party:
        raise CertificateError(f"{party.label}: signed as {found.uri}")
    try:
        path = path_to(own, chain[1:], read_chain(authorities), at)
    except verification.VerificationError:
        when = f"{at:%Y-%m-%d %H:%M} UTC"
        raise CertificateError(
            f"{party.label}: no authority in {authorities} vouches for its certificate at {when}"
        ) from None
    for each in path:
        _check_usage(named, each, found, leaf=each == own)
    return key


def require_valid_for(path: Path, ends: datetime.datetime, days: int) -> None:
    """Raise CertificateError, naming `path`, if `ends` is less than so many days ahead."""
    if ends < datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days):
        raise CertificateError(f"{path}: ends {ends:%Y-%m-%d}, in less than {days} days; renew it")


# --- Parts ---------------------------------------------------------------------------------------


def identity_of(path: Path, certificate: x509.Certificate) -> Identity:
    """Return whom a certificate names. Raises CertificateError, which names `path`."""
    try:
        return Identity.from_uris(_names(certificate, x509.UniformResourceIdentifier))
    except CertificateError as error:
        raise CertificateError(f"{path}: {error}") from None


def _names(
    certificate: x509.Certificate, kind: type[x509.DNSName] | type[x509.UniformResourceIdentifier]
) -> list[str]:
    names = _extension(certificate, x509.SubjectAlternativeName)
    return [] if names is None else names.get_values_for_type(kind)


def check_dates(path: Path, certificate: x509.Certificate) -> None:
    """Raise CertificateError unless `certificate` is valid now."""
    now = datetime.datetime.now(datetime.UTC)
    if now > certificate.not_valid_after_utc:
        raise CertificateError(
            f"{path}: certificate expired on {certificate.not_valid_after_utc:%Y-%m-%d}; "
            "issue another one"
        )
    if now < certificate.not_valid_before_utc:
        raise CertificateError(
            f"{path}: certificate is not valid before {certificate.not_valid_before_utc:%Y-%m-%d}; "
            "check this machine's clock"
        )


def fault_of_end(path: Path, ends: datetime.datetime, now: datetime.datetime) -> str:
    """Return a line on a certificate that has ended or ends within two weeks; empty for any other.

    `ends` is when the first of its chain does.
    """
    left = ends - now
    if left <= datetime.timedelta():
        return f"{path}: has expired; nobody can connect; renew it"
    if left <= WARN_BEFORE:
        when = f"{ends:%Y-%m-%d}, in {left.days} days"
        return f"{path}: it or its authority ends on {when}; renew it"
    return ""


def check_key(path: Path, key: object) -> None:
    """Raise CertificateError unless TLS here can use this public key."""
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise CertificateError(f"{path}: not an ECDSA certificate; TLS 1.3 here needs one")
    if key.curve.name not in _CURVES:
        raise CertificateError(f"{path}: its curve is {key.curve.name}; TLS needs P-256 or P-384")


def _check_usage(
    path: Path, certificate: x509.Certificate, identity: Identity, *, leaf: bool
) -> None:
    """Raise CertificateError if a certificate of the chain does not allow what it is used for."""
    whose = path if leaf else f"{path}: its authority"
    needed = [ExtendedKeyUsageOID.CLIENT_AUTH]
    needed += [ExtendedKeyUsageOID.SERVER_AUTH] * identity.role.serves
    allowed = _purposes(certificate)
    for purpose in needed:
        if allowed is not None and purpose not in allowed:
            raise CertificateError(
                f"{whose}: its extended key usage does not let it {_PURPOSES[purpose]}"
            )
    if not leaf:
        return
    usage = _extension(certificate, x509.KeyUsage)
    if usage is not None and not usage.digital_signature:
        raise CertificateError(f"{path}: its key usage has no digitalSignature, which TLS needs")
    hosts = _names(certificate, x509.DNSName)
    if identity.role.serves and identity.role.host not in hosts:
        raise CertificateError(f"{path}: lacks the DNS name {identity.role.host}")
    others = {role.host for role in Role if role is not identity.role and role.serves}
    if names := sorted(others.intersection(map(str.lower, hosts))):
        raise CertificateError(
            f"{path}: has the name {names[0]}, another server's; issue another one"
        )
    if any("*" in host for host in hosts):
        raise CertificateError(f"{path}: a name with * stands for every server; issue another one")


def _purposes(certificate: x509.Certificate) -> set[ObjectIdentifier] | None:
    found = _extension(certificate, x509.ExtendedKeyUsage)
    return None if found is None else set(found)


def _extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _vouched(
    path: Path, chain: Sequence[x509.Certificate], authorities: Path
) -> tuple[x509.Certificate, ...]:
    """Return the path to an authority. Raises CertificateError with the reason there is none."""
    known, now = read_chain(authorities), datetime.datetime.now(datetime.UTC)
    try:
        found = path_to(chain[0], chain[1:], known, now)
    except verification.VerificationError as error:
        reason = str(error)
    else:
        _require_unmistakable(authorities, found, known, now)
        return found
    current, left = chain[0], list(chain[1:])
    while True:
        if (issuer := _issuer(current, known)) is not None:
            check_dates(authorities, issuer)
            break
        if (issuer := _issuer(current, left)) is None:
            raise CertificateError(f"{path}: was not issued by {authorities}{_through(left)}")
        check_dates(path, issuer)
        left.remove(issuer)
        current = issuer
    raise CertificateError(f"{path}: its chain is not valid: {reason.splitlines()[0][:200]}")


def _require_unmistakable(
    path: Path,
    found: Sequence[x509.Certificate],
    known: Sequence[x509.Certificate],
    now: datetime.datetime,
) -> None:
    """Raise CertificateError if TLS may try another authority of the same name, which would fail.

    TLS tries one only: by its name, and by its key's identifier if both certificates have one.
    """
    for child, issuer in itertools.pairwise(found):
        for other in known:
            if other == issuer or other.subject != issuer.subject or _told_apart(child, other):
                continue
            valid = other.not_valid_before_utc <= now <= other.not_valid_after_utc
            if not (valid and is_issued_by(child, other)):
                name = other.subject.rfc4514_string()
                raise CertificateError(
                    f"{path}: holds several certificates of {name}, and TLS may try a wrong or "
                    f"expired one; remove that of {other.not_valid_before_utc:%Y-%m-%d}"
                )


def _told_apart(child: x509.Certificate, other: x509.Certificate) -> bool:
    wanted = _extension(child, x509.AuthorityKeyIdentifier)
    found = _extension(other, x509.SubjectKeyIdentifier)
    if wanted is None or wanted.key_identifier is None or found is None:
        return False
    return wanted.key_identifier != found.digest


def _through(left: Sequence[x509.Certificate]) -> str:
    return ", nor through the others in the file" if left else ""


def _issuer(
    certificate: x509.Certificate, among: Sequence[x509.Certificate]
) -> x509.Certificate | None:
    return next((each for each in among if is_issued_by(certificate, each)), None)


def is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Return whether `issuer` signed `certificate`, whatever else either of them says."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except Exception:  # the library raises five kinds; they all mean no
        return False
    return True


def _any() -> verification.ExtensionPolicy:
    """Of a certificate's own extensions: whatever TLS does not look at is allowed."""
    return verification.ExtensionPolicy.permit_all()


def _issues() -> verification.ExtensionPolicy:
    """Of an authority's extensions: it may issue certificates."""

    def may_issue(_: object, __: object, found: x509.BasicConstraints) -> None:
        if not found.ca:
            raise ValueError("one of its issuers is no authority")

    def may_sign(_: object, __: object, found: x509.KeyUsage | None) -> None:
        if found is not None and not found.key_cert_sign:
            raise ValueError("one of its issuers may not sign certificates")

    either = verification.Criticality.AGNOSTIC
    policy = _any().require_present(x509.BasicConstraints, either, may_issue)
    return policy.may_be_present(x509.KeyUsage, either, may_sign)

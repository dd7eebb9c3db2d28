"""Receipts: what both parties state of a model, signed with the keys of their certificates.

    signed = "privedge receipt 1" || 0x00 || canonical JSON of {"certificates": ..., "facts": ...}

Canonical JSON has sorted keys, no spaces and ASCII only. A certificate is its DER in base64, the
party's own first. The signature is ECDSA with SHA-256. What TLS 1.3 signs with the same key begins
with 64 spaces (RFC 8446, 4.4.3), so neither signature can be taken for one of the other.

A receipt is a JSON file with the statement of each party. It is read only in the very form in which
it was written, so every byte of it counts. Sees public facts; `sign` reads a private key.
"""

import base64
import datetime
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from privedge import regular_file
from privedge.config import TlsFiles
from privedge.errors import CertificateError, ReceiptError
from privedge.identity.checking import check_files, check_statement_chain
from privedge.identity.pem_files import read_chain, read_key
from privedge.identity.roles import COHORT_NAME, NAME, Role

PARTIES = (Role.PARTY0, Role.PARTY1)
ACTIVATION, DELETION = "activation", "deletion"
FORMAT = 1

_DOMAIN = b"privedge receipt 1\x00"
# A clock may be so far ahead of the one that reads it.
_LEEWAY = datetime.timedelta(minutes=5)
_LARGEST_BYTES = 1 << 20
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_FORMS = {
    "event": f"{ACTIVATION}|{DELETION}",
    "model": r"[0-9a-f]{32}",
    "owner": NAME.pattern,
    "cohort": COHORT_NAME,
    "party": r"party[01]",
    # Empty if the party has no such cohort any more.
    "snapshot": r"(?:[0-9a-f]{64})?",
    "time": r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z",
}


@dataclass(frozen=True)
class Facts:
    """What a party states.

    event: "deletion": the party has deleted its share of the model, and no query asks it.
        "activation": it has its share, and queries ask it.
    model, owner, cohort: its id, 32 hexadecimal digits, and the names.
    party: "party0" or "party1", who states it.
    snapshot: id of the cohort's active models after the event; empty without such a cohort.
    time: of the statement, by the party's clock, UTC: "2026-01-31T12:00:00Z".
    """

    event: str
    model: str
    owner: str
    cohort: str
    party: str
    snapshot: str
    time: str

    @staticmethod
    def now(event: str, model: str, owner: str, cohort: str, party: Role, snapshot: str) -> "Facts":
        """State with the present time."""
        now = datetime.datetime.now(datetime.UTC).strftime(_TIME)
        return Facts(event, model, owner, cohort, str(party), snapshot, now)

    @property
    def at(self) -> datetime.datetime:
        """The time as such. Raises ReceiptError for a day that no calendar has."""
        try:
            return datetime.datetime.strptime(self.time, _TIME).replace(tzinfo=datetime.UTC)
        except ValueError:
            raise ReceiptError("its time is none") from None

    @property
    def subject(self) -> tuple[str, str, str, str]:
        """On what both parties' statements must agree."""
        return self.event, self.model, self.owner, self.cohort

    def to_json(self) -> str:
        """Return the canonical JSON."""
        return _canonical(asdict(self))

    @staticmethod
    def from_json(text: str) -> "Facts":
        """Read what `to_json` gives. Raises ReceiptError for anything else."""
        return Facts.of(_parsed(text))

    @staticmethod
    def of(found: Any) -> "Facts":
        """Read a parsed object. Raises ReceiptError unless each field has its form."""
        if not isinstance(found, dict) or found.keys() != _FORMS.keys():
            raise ReceiptError("has not the fields of a statement")
        for name, form in _FORMS.items():
            if not isinstance(found[name], str) or not re.fullmatch(form, found[name]):
                raise ReceiptError(f"its {name} is malformed")
        return Facts(**found)


@dataclass(frozen=True)
class Statement:
    """Facts with a party's signature. `certificates` are DER, the party's own first."""

    facts: Facts
    certificates: tuple[bytes, ...]
    signature: bytes

    @property
    def signed(self) -> bytes:
        """The bytes under the signature."""
        return _DOMAIN + _canonical(self._under_signature()).encode()

    def _under_signature(self) -> dict[str, Any]:
        certificates = [base64.b64encode(each).decode() for each in self.certificates]
        return {"certificates": certificates, "facts": asdict(self.facts)}

    def as_object(self) -> dict[str, Any]:
        """Return the statement's part of a receipt."""
        return {**self._under_signature(), "signature": base64.b64encode(self.signature).decode()}

    @staticmethod
    def of(found: Any) -> "Statement":
        """Inverse of `as_object`. Raises ReceiptError."""
        if not isinstance(found, dict) or found.keys() != {"certificates", "facts", "signature"}:
            raise ReceiptError("has not the parts of a statement")
        if not isinstance(found["certificates"], list):
            raise ReceiptError("its certificates are no list")
        certificates = tuple(_decoded(each) for each in found["certificates"])
        return Statement(Facts.of(found["facts"]), certificates, _decoded(found["signature"]))

    def verify(self, authorities: Path, party: Role) -> None:
        """Raise ReceiptError unless `party` made this statement.

        `authorities`: the file of those who may issue its certificate (PEM). The chain must have
        been valid at the time stated, which must not lie ahead.
        """
        if self.facts.party != party:
            raise ReceiptError(f"{party.label}: states it as {self.facts.party}")
        at = self.facts.at
        if at > datetime.datetime.now(datetime.UTC) + _LEEWAY:
            raise ReceiptError(f"{party.label}: its time lies ahead; check this machine's clock")
        try:
            chain = [x509.load_der_x509_certificate(each) for each in self.certificates]
            key = check_statement_chain(party, chain, authorities, at)
            key.verify(self.signature, self.signed, ec.ECDSA(hashes.SHA256()))
        except CertificateError as error:
            raise ReceiptError(str(error)) from None
        except InvalidSignature:
            raise ReceiptError(f"{party.label}: the signature is not of these facts") from None
        except Exception:  # the library raises many kinds for a malformed certificate
            raise ReceiptError(f"{party.label}: a certificate is malformed") from None


@dataclass(frozen=True)
class SignedReceipt:
    """The statements of both parties about one event, party 0's first."""

    statements: tuple[Statement, Statement]

    @property
    def facts(self) -> Facts:
        """What party 0 states. Party 1 differs in snapshot and time at most."""
        return self.statements[0].facts

    def verify(self, vouching_for: Mapping[Role, Path]) -> None:
        """Raise ReceiptError unless both parties state the same event.

        vouching_for: the file of authorities for each party.
        """
        for party, statement in zip(PARTIES, self.statements, strict=True):
            statement.verify(vouching_for[party], party)
        if self.statements[0].facts.subject != self.statements[1].facts.subject:
            raise ReceiptError("the two parties state different things")

    def to_text(self) -> str:
        """Return the content of a receipt file."""
        zero, one = (each.as_object() for each in self.statements)
        whole = {"privedge_receipt": FORMAT, "party0": zero, "party1": one}
        return json.dumps(whole, sort_keys=True, indent=1) + "\n"

    @staticmethod
    def of(
        statements: Sequence[Statement | None],
        event: str,
        model: str,
        vouching_for: Mapping[Role, Path],
    ) -> "SignedReceipt | None":
        """Make a receipt of what both parties have answered; None unless both have signed.

        Raises ReceiptError if it does not hold, or is of another event or model.
        """
        zero, one = statements
        if zero is None or one is None:
            return None
        receipt = SignedReceipt((zero, one))
        receipt.verify(vouching_for)
        if (receipt.facts.event, receipt.facts.model) != (event, model):
            raise ReceiptError("the parties state something else")
        return receipt

    @staticmethod
    def from_text(text: str) -> "SignedReceipt":
        """Inverse of `to_text`. Raises ReceiptError for any other text."""
        found = _parsed(text)
        if not isinstance(found, dict) or "privedge_receipt" not in found:
            raise ReceiptError("is no receipt of privedge")
        if found["privedge_receipt"] != FORMAT:
            raise ReceiptError("is of another format; verify it with a newer release")
        receipt = SignedReceipt(
            (Statement.of(found.get("party0")), Statement.of(found.get("party1")))
        )
        if receipt.to_text() != text:
            raise ReceiptError("is not as it was written; use the file as `--receipt` left it")
        return receipt


def sign(facts: Facts, tls: TlsFiles) -> Statement:
    """Sign with the key of a server. Raises CertificateError if its files are not good now."""
    check_files(tls)
    chain = read_chain(tls.certificate)
    certificates = tuple(each.public_bytes(serialization.Encoding.DER) for each in chain)
    unsigned = Statement(facts, certificates, b"")
    signature = read_key(tls.key).sign(unsigned.signed, ec.ECDSA(hashes.SHA256()))
    return Statement(facts, certificates, signature)


def read_receipt(path: Path) -> SignedReceipt:
    """Read a receipt file, which is not verified yet. Raises ReceiptError, naming the file."""
    try:
        with regular_file.opened(path) as file:
            raw = file.read(_LARGEST_BYTES + 1)
        if len(raw) > _LARGEST_BYTES:
            raise ReceiptError("is too large for a receipt")
        return SignedReceipt.from_text(raw.decode("ascii"))
    except OSError as error:
        raise ReceiptError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ReceiptError(f"{path}: is no receipt of privedge") from None
    except ReceiptError as error:
        raise ReceiptError(f"{path}: {error}") from None


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ReceiptError("is no receipt of privedge") from None


def _decoded(text: Any) -> bytes:
    if not isinstance(text, str):
        raise ReceiptError("a certificate or signature is no text")
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        raise ReceiptError("a certificate or signature is not base64") from None
    return raw

"""Who may call a server now. Certificates are looked at in each call, and while calls run.

TLS looks at a certificate once, when a connection begins. Here every call is refused, and every
running one ended, whose certificate has expired since, is on the server's deny list, or is not of
the authority that the role's pin names. An admin's name must be on the list of this server.

The deny list is a text file, read again whenever it changes. Each line is the URI of an identity,
or the serial number of one certificate in hexadecimal, with or without 0x or the `serial=` that
openssl prints before it; what follows a # does not count.
"""

import datetime
import logging
import re
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.x509.verification import VerificationError

from privedge import regular_file
from privedge.config import TlsFiles
from privedge.errors import CertificateEnded, CertificateError, ConfigError, NotAllowed
from privedge.identity.checking import path_to
from privedge.identity.pem_files import read_chain
from privedge.identity.roles import Identity, Role
from privedge.rpc.access import CallerRules
from privedge.rpc.channel import NAME_KEY, ROLE_KEY
from privedge.rpc.tls import Stamp, stamp, stamp_of
from privedge.rpc.witness import Witness

log = logging.getLogger(__name__)

Clock = Callable[[], datetime.datetime]
_SERIAL = re.compile(r"(?:serial=|0x)?([0-9a-f]{1,2}(?::?[0-9a-f]{1,2}){0,19})", re.IGNORECASE)
# Certificates that are remembered; more than callers that are likely at once.
_REMEMBERED = 4096


def utc_now() -> datetime.datetime:
    """Return the time now."""
    return datetime.datetime.now(datetime.UTC)


# Who calls, of each call that passed the gate and is not over.
_LET_IN: weakref.WeakKeyDictionary[grpc.ServicerContext, Identity] = weakref.WeakKeyDictionary()


def let_in(context: grpc.ServicerContext, who: Identity) -> None:
    """Remember who makes a call that passed the gate."""
    _LET_IN[context] = who


def caller(context: grpc.ServicerContext) -> Identity:
    """Return who makes a call that passed the gate. Raises NotAllowed if it passed none."""
    who = _LET_IN.get(context)
    if who is None:
        raise NotAllowed("no gate has let this call in")
    return who


def _identity(facts: Mapping[str, Any], context: grpc.ServicerContext) -> Identity:
    if facts.get("transport_security_type") == [b"ssl"]:
        if facts.get("ssl_tls_version") != [b"TLSv1.3"]:
            raise NotAllowed("the connection is not TLS 1.3")
        uris = [uri.decode("ascii", "replace") for uri in facts.get("peer_uri", [])]
    else:
        claims = {str(key): str(value) for key, value in context.invocation_metadata()}
        uris = [f"spiffe://privedge/{claims.get(ROLE_KEY, '')}/{claims.get(NAME_KEY, '')}"]
    try:
        return Identity.from_uris(uris)
    except CertificateError as error:
        raise NotAllowed(str(error)) from None


@dataclass(frozen=True)
class Known:
    """A caller, and the certificate that says so; without TLS there is none."""

    who: Identity
    certificate: x509.Certificate | None


class Callers:
    """The callers of one server. Thread-safe."""

    def __init__(
        self,
        tls: TlsFiles | None,
        rules: CallerRules,
        now: Clock = utc_now,
        witness: Witness | None = None,
    ) -> None:
        """Raises ConfigError for a deny list that cannot be used."""
        self._rules, self._now, self._with_tls = rules, now, tls is not None
        self._vouchers = _Vouchers(tls) if tls is not None and len(tls.trusted) > 1 else None
        self._denied: DenyList | None = None
        if rules.denied is not None:
            self._denied = DenyList(rules.denied, witness or Witness())
        self._lock = threading.Lock()
        self._running: dict[int, tuple[Known, grpc.ServicerContext]] = {}
        self._read: dict[bytes, x509.Certificate] = {}
        _ALL.add(self)

    def identify(self, context: grpc.ServicerContext) -> Known:
        """Return who calls, and its certificate: the identity in it, or on insecure loopback the
        claimed one.

        Raises NotAllowed if it is nobody, if TLS is older than 1.3, or if a server with
        certificates is called without TLS, through a port that somebody else opened.
        """
        facts: Mapping[str, Any] = context.auth_context()
        if self._with_tls and facts.get("transport_security_type") != [b"ssl"]:
            raise NotAllowed("the connection has no TLS")
        return Known(_identity(facts, context), self._certificate(facts))

    def require(self, found: Known) -> None:
        """Raise CertificateEnded or NotAllowed if this caller may call no more."""
        who, certificate, admins = found.who, found.certificate, self._rules.admins
        if certificate is not None and self._now() > certificate.not_valid_after_utc:
            raise CertificateEnded(f"{who.uri}: the certificate has expired")
        serial = certificate.serial_number if certificate is not None else None
        if self._denied is not None and self._denied.holds(who.uri, serial):
            raise CertificateEnded(f"{who.uri}: is on the deny list")
        if admins is not None and who.role is Role.ADMIN and who.name not in admins:
            raise NotAllowed(f"{who.uri} is no admin of this server")
        if self._vouchers is not None and certificate is not None:
            self._vouchers.require(certificate, who, self._now())

    @contextmanager
    def running(self, found: Known, context: grpc.ServicerContext) -> Iterator[None]:
        """Watch a call during the block: `sweep` ends it when its caller may call no more."""
        with self._lock:
            self._running[id(context)] = found, context
        try:
            yield
        finally:
            with self._lock:
                del self._running[id(context)]

    def sweep(self) -> None:
        """End the running calls of callers who may call no more."""
        with self._lock:
            running = list(self._running.values())
        for found, context in running:
            try:
                self.require(found)
            except NotAllowed as error:
                log.warning("ended a running call: %s", error)
                context.cancel()

    def _certificate(self, facts: Mapping[str, Any]) -> x509.Certificate | None:
        shown = facts.get("x509_pem_cert", [])
        if not shown:
            return None
        pem: bytes = shown[0]
        found = self._read.get(pem)
        if found is None:
            if len(self._read) >= _REMEMBERED:
                self._read.clear()
            found = self._read[pem] = x509.load_pem_x509_certificate(pem)
        return found


_ALL: "weakref.WeakSet[Callers]" = weakref.WeakSet()


def sweep_all() -> None:
    """End the running calls of all servers of this process whose callers may call no more."""
    for callers in list(_ALL):
        callers.sweep()


class _Vouchers:
    """Who vouches for each role, if there are pins. TLS trusts all of them for every role."""

    def __init__(self, tls: TlsFiles) -> None:
        self._tls = tls
        self._stamp: Stamp = ()
        # Until when each certificate is vouched for.
        self._good: dict[tuple[x509.Certificate, Role], datetime.datetime] = {}
        self._look()

    def require(self, leaf: x509.Certificate, who: Identity, now: datetime.datetime) -> None:
        """Raise NotAllowed unless an authority for this role issued `leaf`.

        What a caller sent beside its certificate is not known here, so authorities in between must
        be in this server's own files.
        """
        self._look()
        key = leaf, who.role
        if key in self._good and now <= self._good[key]:
            return
        between = [each for every in self._by_file.values() for each in every]
        authorities = self._by_file[self._tls.vouching_for(who.role)]
        try:
            path = path_to(leaf, between, authorities, now)
        except VerificationError:
            raise NotAllowed(f"{who.uri}: is not of the authority that is pinned here") from None
        if len(self._good) >= _REMEMBERED:
            self._good.clear()
        self._good[key] = min(each.not_valid_after_utc for each in path)

    def _look(self) -> None:
        now = stamp(self._tls)
        if now == self._stamp:
            return
        try:
            self._by_file = {path: read_chain(path) for path in self._tls.trusted}
        except CertificateError as error:
            if not self._stamp:
                raise
            log.error("kept the old pins: %s", error)
        self._stamp = now
        self._good = {}


class DenyList:
    """The entries of a file, as it is now."""

    def __init__(self, path: Path, witness: Witness) -> None:
        self._path, self._witness = path, witness
        self._seen = stamp_of(path)
        self._entries = _entries(path)

    def holds(self, uri: str, serial: int | None) -> bool:
        """Return whether one of the two is denied."""
        self._look()
        return uri in self._entries or serial in self._entries

    def _look(self) -> None:
        now = stamp_of(self._path)
        if now == self._seen:
            return
        self._seen = now
        before = self._entries
        try:
            self._entries = _entries(self._path)
        except ConfigError as error:
            log.error("kept the old deny list: %s", error)
        else:
            self._witness.deny_list_changed(self._entries - before, before - self._entries)
            log.info("read the deny list again: %d entries", len(self._entries))


def _entries(path: Path) -> frozenset[str | int]:
    try:
        lines = regular_file.read(path).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"{path}: the deny list cannot be read; an empty file will do") from None
    stated = (line.partition("#")[0].strip() for line in lines)
    return frozenset(
        _entry(path, number, text) for number, text in enumerate(stated, start=1) if text
    )


def _entry(path: Path, number: int, text: str) -> str | int:
    if serial := _SERIAL.fullmatch(text):
        return int(serial[1].replace(":", ""), 16)
    try:
        return Identity.from_uri(text).uri
    except CertificateError:
        raise ConfigError(
            f"{path}: line {number} is neither spiffe://privedge/ROLE/NAME nor a serial number"
        ) from None

"""Certificates that are missing, of somebody else, of another role, ended, and replaced."""

import shutil
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc

from privedge.config import TlsFiles
from privedge.errors import CertificateEnded, CertificateError, PrivEdgeError, Unreachable
from privedge.identity.certificates import create_authority, issue
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import ADMIN, SERVERS
from privedge.rpc.access import ACCESS
from privedge.rpc.channel import open_channel
from tools.gameday.drill import drill, expect
from tools.gameday.service import CLIENT, PARTIES, Service, until

_DAY_S = 86400
_LIFE_S = 4
_ASKED_AFTER = 10


@drill("C-01", "no client certificate")
def no_certificate(service: Service) -> str:
    """A client that trusts the right authority, and shows nothing."""
    files = service.deployment.tls(CLIENT)
    bare = grpc.ssl_channel_credentials(files.ca.read_bytes())
    return _not_admitted(service, bare)


@drill("C-02", "a certificate of another authority")
def other_authority(service: Service) -> str:
    """It says the same name."""
    with TemporaryDirectory() as folder:
        create_authority(Path(folder))
        files = issue(Path(folder), CLIENT)
        trusting = TlsFiles(
            ca=service.deployment.tls(CLIENT).ca, certificate=files.certificate, key=files.key
        )
        raw = [file.read_bytes() for file in (trusting.ca, trusting.key, trusting.certificate)]
    return _not_admitted(service, grpc.ssl_channel_credentials(*raw))


@drill("C-03", "a client's certificate ends while it is connected")
def certificate_ends(service: Service) -> str:
    """It is answered before, and refused after."""
    folder = service.deployment.folder / "certs"
    short = Identity(Role.CLIENT, "short")
    issue(folder, short, days=_LIFE_S / _DAY_S)
    ended: list[PrivEdgeError] = []

    def is_refused() -> bool:
        try:
            service.ask(client)
        except PrivEdgeError as error:
            ended.append(error)
        return bool(ended)

    try:
        with service.client(short) as client:
            service.ask(client)
            until(is_refused)
    finally:
        for file in folder.glob("client-short.*"):
            file.unlink()
    expect(isinstance(ended[0], CertificateEnded | CertificateError | Unreachable), ended[0])
    return f"answered before, {type(ended[0]).__name__} after"


@drill("C-05", "a client calls every method that is not for clients")
def other_roles_methods(service: Service) -> str:
    """At every server, at every port."""
    addresses = [(server, service.deployment.address(server)) for server in SERVERS]
    addresses.append((Role.PARTY1, f"127.0.0.1:{service.deployment.worker_port}"))
    forbidden = [method for method, roles in ACCESS.items() if Role.CLIENT not in roles]
    codes = set()
    for server, address in addresses:
        tls = service.deployment.tls(CLIENT)
        with open_channel(address, server=server, tls=tls) as channel:
            for method in forbidden:
                codes.add(channel.stream_stream(method)(iter(()), timeout=20).code())
    expect(codes <= {grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNIMPLEMENTED}, codes)
    return f"{len(forbidden)} methods at {len(addresses)} ports: PERMISSION_DENIED"


@drill("C-07", "another authority and all certificates replaced on disk, under a client")
def all_replaced(service: Service) -> str:
    """All connections are cut too, so that everybody shakes hands again."""
    over, ended = threading.Event(), threading.Semaphore(0)
    failed: list[PrivEdgeError] = []
    asked: list[int] = []

    def ask() -> None:
        while not over.is_set():
            try:
                service.ask(client)
                asked.append(1)
            except PrivEdgeError as error:
                failed.append(error)
            ended.release()

    with service.client(within_s=60, retries=4) as client:
        thread = threading.Thread(target=ask)
        thread.start()
        try:
            expect(ended.acquire(timeout=60), "no answer")
            replace_everything(service)
            for cable in service.cables:
                cable.cut()
            for _ in range(_ASKED_AFTER):
                expect(ended.acquire(timeout=60), "no answer")
        finally:
            over.set()
            thread.join(60)
    expect(not failed, failed[:1])
    return f"{len(asked)} queries, none failed"


# --- Shared by several drills ---------------------------------------------------------------------


def _not_admitted(service: Service, credentials: grpc.ChannelCredentials) -> str:
    before = {party: service.status(party).query_bytes for party in PARTIES}
    codes = set()
    for party in PARTIES:
        options = (("grpc.ssl_target_name_override", party.host),)
        address = service.deployment.address(party)
        with grpc.secure_channel(address, credentials, options=options) as channel:
            call = channel.stream_stream("/privedge.v1.Party/Query")(iter([b""]), timeout=20)
            codes.add(call.code())
    expect(codes == {grpc.StatusCode.UNAVAILABLE}, codes)
    now = {party: service.status(party).query_bytes for party in PARTIES}
    expect(now == before, "a handler was reached")
    return "UNAVAILABLE at both parties"


def replace_everything(service: Service) -> None:
    """Replace the authority, and every certificate that is in use; each file as a whole."""
    who = [Identity(server, server.value) for server in SERVERS] + [CLIENT, ADMIN]
    with TemporaryDirectory() as folder:
        create_authority(Path(folder))
        made = {identity: issue(Path(folder), identity) for identity in who}
        for identity, files in made.items():
            old = service.deployment.tls(identity)
            for kind in ("ca", "certificate", "key"):
                part = old.ca.with_name("part")
                shutil.copy(getattr(files, kind), part)
                part.replace(getattr(old, kind))
        # Whoever is issued a certificate later gets it of the new authority.
        part = old.ca.with_name("part")
        shutil.copy(Path(folder) / "ca.key", part)
        part.replace(old.ca.with_name("ca.key"))
    _reissue(service, who)


def _reissue(service: Service, kept: list[Identity]) -> None:
    """Forget the certificates of everybody else, who is issued another one when needed."""
    stems = {service.deployment.tls(identity).certificate.stem for identity in kept} | {"ca"}
    for file in (service.deployment.folder / "certs").iterdir():
        if file.stem not in stems:
            file.unlink()

"""What the check of certificate files passes, TLS passes, and the other way round: W-07 and W-08.

Each row is a certificate file. It is checked, and then used in real handshakes without the check.
"""

from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID as Purpose
from cryptography.x509.oid import ObjectIdentifier
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from privedge.errors import CertificateError
from privedge.identity.certificates import create_authority, issue
from privedge.identity.checking import check_files
from privedge.identity.roles import Role
from privedge.rpc.server import build_server
from privedge.rpc.tls import client_credentials
from tests.made_certificates import CLIENT, SERVER, How, Made, authority, make, server, write

ROOT, OTHER = make("root", authority()), make("other", authority())
AGAIN = make("root", authority(key=ROOT.key))
NAMESAKE = make("root", authority())
INNER = make("inner", authority(), ROOT)
INNERMOST = make("innermost", authority(), INNER)
LAST = make("last", authority(path_length=0), ROOT)
BEYOND = make("beyond", authority(), LAST)
EXPIRED_ROOT = make("root", authority(days=(-2, -1), key=ROOT.key))
EXPIRED_INNER = make("inner", authority(days=(-2, -1), key=INNER.key), ROOT)
NO_AUTHORITY = make("nobody", How(uris=()), ROOT)
NO_SIGNER = make("no signer", authority(usage="digital_signature"), ROOT)
ONLY_SERVERS = make("only servers", authority(purposes=(Purpose.SERVER_AUTH,)), ROOT)
RSA_ROOT = make("rsa", authority(key=rsa.generate_private_key(65537, 2048)))
P384, P521 = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP521R1())
UNKNOWN = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")


@dataclass(frozen=True)
class Row:
    """A certificate, its issuer, what is sent with it, whom the others trust, and the verdict."""

    name: str
    how: How
    issuer: Made = ROOT
    sent: tuple[Made, ...] = ()
    trusted: tuple[Made, ...] = (ROOT,)
    refused: str | None = None


GOOD = [
    Row("a client", How()),
    Row("a client that may only dial", How(purposes=(Purpose.CLIENT_AUTH,))),
    Row("a server", server()),
    Row("without extended key usage", server(purposes=None)),
    Row("without key usage", How(usage=None)),
    Row("on P-384", server(key=P384)),
    Row("of an RSA authority", How(), RSA_ROOT, trusted=(RSA_ROOT,)),
    Row("old and new authority, by the old", How(), trusted=(ROOT, OTHER)),
    Row("old and new authority, by the new", server(), trusted=(OTHER, ROOT)),
    Row("an expired authority beside", How(), trusted=(EXPIRED_INNER, ROOT)),
    Row("renewed with the same key", How(), trusted=(AGAIN, ROOT)),
    Row("through another", server(), INNER, sent=(INNER,)),
    Row("through two others", How(), INNERMOST, sent=(INNERMOST, INNER)),
    Row("with the root sent too", How(), INNER, sent=(INNER, ROOT)),
    Row("trusted from the middle", server(), INNER, trusted=(INNER,)),
    Row("of the last authority allowed", How(), LAST, sent=(LAST,)),
    Row("with another system's name", How(uris=("spiffe://elsewhere/x", CLIENT.uri))),
    Row("with another host's name", server(hosts=("a.example.org", SERVER.role.host))),
]
BAD = [
    Row("expired", How(days=(-2, -1)), refused="certificate expired on"),
    Row("of tomorrow", server(days=(1, 2)), refused="is not valid before"),
    Row("of another authority", How(), OTHER, refused="was not issued by"),
    Row("expired, same key", How(), trusted=(EXPIRED_ROOT, ROOT), refused="remove that of"),
    Row("another of its name", How(), trusted=(NAMESAKE, ROOT), refused="several certificates"),
    Row("of an expired authority", How(), trusted=(EXPIRED_ROOT,), refused="ca.crt: .* expired"),
    Row("the one between is missing", server(), INNER, refused="was not issued by"),
    Row("another one between", How(), INNER, sent=(LAST,), refused="nor through the others"),
    Row(
        "the one between expired", How(), INNER, sent=(EXPIRED_INNER,),
        refused="it.crt: certificate expired",
    ),
    Row("one authority too many", How(), BEYOND, sent=(BEYOND, LAST), refused="not valid"),
    Row("of no authority", server(), NO_AUTHORITY, sent=(NO_AUTHORITY,), refused="not valid"),
    Row("of one that may not sign", How(), NO_SIGNER, sent=(NO_SIGNER,), refused="not valid"),
    Row(
        "of an authority for servers", How(), ONLY_SERVERS, sent=(ONLY_SERVERS,),
        refused="its authority: its extended key usage does not let it dial",
    ),
    Row("may not dial", How(purposes=(Purpose.SERVER_AUTH,)), refused="does not let it dial"),
    Row("may not serve", server(purposes=(Purpose.CLIENT_AUTH,)), refused="not let it serve"),
    Row("may not sign", How(usage="key_encipherment"), refused="no digitalSignature"),
    Row("on P-521", server(key=P521), refused="its curve is secp521r1"),
    Row("a server without its name", server(hosts=()), refused="lacks the DNS name"),
    Row("a server with another's", server(hosts=("party1.privedge",)), refused="lacks the DNS"),
    Row("with a critical extension", How(extra=(UNKNOWN,)), refused="not valid"),
]  # fmt: skip
# Refused by our own rules only.
STRICT = [
    Row("RSA", How(key=RSA_ROOT.key), refused="not an ECDSA"),
    Row("two roles", How(uris=(CLIENT.uri, "spiffe://privedge/owner/x")), refused="several"),
    Row("no role", How(uris=("spiffe://elsewhere/x",)), refused="names no privedge role"),
    Row(
        "two servers", server(hosts=(SERVER.role.host, "PARTY1.privedge")),
        refused="name party1.privedge, another server's",
    ),
    Row(
        "a client as a server", How(hosts=(SERVER.role.host,)),
        refused="name party0.privedge, another server's",
    ),
    Row("every server", server(hosts=("*.privedge", SERVER.role.host)), refused=r"with \*"),
]  # fmt: skip


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A server and a client of ROOT, and files that trust whom they are told to."""
    folder = tmp_path_factory.mktemp("good")
    return {
        name: write(folder, name, make(name, how, ROOT), (), (ROOT,))
        for name, how in {"server": server(), "client": How()}.items()
    }


@contextmanager
def listening(mine, trusted):
    servicer = health.HealthServicer()
    servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    with futures.ThreadPoolExecutor(2) as threads:
        running = grpc.server(threads)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, running)
        pair = (mine.key.read_bytes(), mine.certificate.read_bytes())
        port = running.add_secure_port(
            "127.0.0.1:0", grpc.ssl_server_credentials([pair], trusted, True)
        )
        running.start()
        try:
            yield port
        finally:
            running.stop(None).wait()


def shakes_hands(server_files, client_files, *, trusted_by_server, trusted_by_client):
    """Whether a call comes through, with no check of ours on the way."""
    credentials = grpc.ssl_channel_credentials(
        trusted_by_client, client_files.key.read_bytes(), client_files.certificate.read_bytes()
    )
    options = [("grpc.ssl_target_name_override", SERVER.role.host), ("grpc.enable_retries", 0)]
    with (
        listening(server_files, trusted_by_server) as port,
        grpc.secure_channel(f"127.0.0.1:{port}", credentials, options=options) as channel,
    ):
        try:
            health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
        except grpc.RpcError as error:
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            return False
        return True


def tls_takes(row, files, good):
    """Whether others take this certificate: from who dials, and of a server from who listens."""
    trusted, root = files.ca.read_bytes(), ROOT.pem
    dialled = shakes_hands(good["server"], files, trusted_by_server=trusted, trusted_by_client=root)
    if not row.how.hosts and SERVER.uri not in row.how.uris:
        return dialled
    served = shakes_hands(files, good["client"], trusted_by_server=root, trusted_by_client=trusted)
    return dialled and served


@pytest.mark.parametrize("row", [*GOOD, *BAD, *STRICT], ids=lambda row: row.name)
def test_w07_w08_the_check_and_the_handshake_agree_and_the_check_says_why(row, good, tmp_path):
    files = write(tmp_path, "it", make("it", row.how, row.issuer), row.sent, row.trusted)
    files = files.model_copy(update={"ca": files.ca.rename(tmp_path / "ca.crt")})
    if row.refused is None:
        assert check_files(files).identity.uri in row.how.uris
    else:
        with pytest.raises(CertificateError, match=row.refused) as refusal:
            check_files(files)
        assert "\n" not in str(refusal.value) and str(tmp_path) in str(refusal.value)
    assert tls_takes(row, files, good) is (row.refused is None or row in STRICT)


@pytest.mark.parametrize("order", [1, -1])
def test_w07_our_own_authorities_of_the_same_name_are_told_apart(order, good, tmp_path):
    for folder in ("old", "new"):
        create_authority(tmp_path / folder)
    bundle = [(tmp_path / name / "ca.crt").read_bytes() for name in ("old", "new")][::order]
    for folder in ("old", "new"):
        mine, theirs = (issue(tmp_path / folder, identity) for identity in (SERVER, CLIENT))
        mine.ca.write_bytes(b"".join(bundle))
        assert check_files(mine).identity == SERVER and check_files(theirs).identity == CLIENT
        assert shakes_hands(
            mine, theirs, trusted_by_server=mine.ca.read_bytes(), trusted_by_client=b"".join(bundle)
        )


def test_w07_the_chain_that_was_found_is_the_one_that_ends_first(tmp_path):
    inner = make("inner", authority(days=(-1, 1)), ROOT)
    files = write(tmp_path, "it", make("it", How(), inner), (inner,), (ROOT,))
    found = check_files(files)
    assert found.chain[1:] == (inner.certificate, ROOT.certificate)
    assert found.ends == inner.certificate.not_valid_after_utc


def test_w06_a_pin_is_whom_a_server_must_come_from_and_its_own_certificate_will_do(tmp_path):
    """Files pin party 0; certificates of `ca` for party 0 are refused, before a byte is sent."""
    create_authority(tmp_path / "shared")
    create_authority(tmp_path / "own")
    theirs, own = (issue(tmp_path / folder, SERVER) for folder in ("shared", "own"))
    client = issue(tmp_path / "shared", CLIENT)
    for pin, taken in ((own.ca, own), (own.certificate, own), (theirs.certificate, theirs)):
        files = client.model_copy(update={"pins": client.pins.model_copy(update={"party0": pin})})
        outcomes = {}
        for name, mine in (("own", own), ("shared", theirs)):
            with listening(mine, client.ca.read_bytes()) as port:
                credentials = client_credentials(files, Role.PARTY0)
                options = [("grpc.ssl_target_name_override", SERVER.role.host)]
                with grpc.secure_channel(
                    f"127.0.0.1:{port}", credentials, options=options
                ) as channel:
                    stub = health_pb2_grpc.HealthStub(channel)
                    try:
                        stub.Check(health_pb2.HealthCheckRequest(), timeout=20)
                        outcomes[name] = True
                    except grpc.RpcError:
                        outcomes[name] = False
        assert outcomes == {"own": taken is own, "shared": taken is theirs}


def with_byte_order_mark(pem):
    return b"\xef\xbb\xbf" + pem


def joined_without_line_ends(pem):
    return pem.replace(b"-----\n-----", b"----------").rstrip()


def with_windows_line_ends(pem):
    return pem.replace(b"\n", b"\r\n")


@pytest.mark.parametrize(
    "written", [with_byte_order_mark, joined_without_line_ends, with_windows_line_ends]
)
def test_w07_tls_is_given_what_the_check_has_read_however_the_files_are_written(written, tmp_path):
    made = {"server": server(), "client": How()}
    files = {
        name: write(tmp_path, name, make(name, how, INNER), (INNER,), (OTHER, ROOT))
        for name, how in made.items()
    }
    for each in files.values():
        for path in (each.ca, each.certificate, each.key):
            path.write_bytes(written(path.read_bytes()))
    running, port = build_server("127.0.0.1:0", tls=files["server"], access={})
    running.start()
    options = [("grpc.ssl_target_name_override", SERVER.role.host)]
    credentials = client_credentials(files["client"], Role.PARTY0)
    try:
        with grpc.secure_channel(f"127.0.0.1:{port}", credentials, options=options) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            with pytest.raises(grpc.RpcError) as refusal:  # behind TLS: it has no such method
                stub.Check(health_pb2.HealthCheckRequest(), timeout=20)
        assert refusal.value.code() is grpc.StatusCode.UNIMPLEMENTED
    finally:
        running.stop(None).wait()


@pytest.mark.parametrize("which", ["ca", "certificate"])
@pytest.mark.parametrize("kept", [40, -30])
def test_w07_a_file_whose_second_certificate_is_cut_off_is_named(which, kept, tmp_path):
    files = write(tmp_path, "it", make("it", How(), ROOT), (INNER,), (ROOT, OTHER))
    check_files(files)
    path = getattr(files, which)
    whole = path.read_bytes()
    second = whole.index(b"-----BEGIN", 1)
    path.write_bytes(whole[:second] + whole[second:][:kept])
    with pytest.raises(CertificateError, match=f"^{path}: 1 of its 2 certificates cut off"):
        check_files(files)

"""From `privedge certs` to a served call, and what an eavesdropper on the network learns."""

from contextlib import contextmanager

import grpc
import pytest

from privedge.cli.main import build
from privedge.config import ClientConfig, TlsFiles, load
from privedge.errors import ConfigError, NotAllowed, Unreachable
from privedge.identity.roles import Role
from privedge.rpc.access import ACCESS
from privedge.rpc.channel import open_channel, open_party, peer_name
from privedge.rpc.server import build_server, caller
from privedge.rpc.status import calls_to
from privedge.wire import party_pb2 as pb
from privedge.wire import party_pb2_grpc as party_grpc
from tools.gameday.cable import Cable

SECRET = b"words-of-a-share-" * 1000


class Party(party_grpc.PartyServicer):
    def __init__(self, index):
        self.index, self.callers, self.uploads = index, [], []

    def DescribeCohort(self, request, context):
        self.callers.append(caller(context).uri)
        return pb.DescribeCohortResponse(snapshot_id=str(self.index))

    def UploadModel(self, request_iterator, context):
        self.uploads.append(b"".join(request.words for request in request_iterator))
        return pb.UploadModelResponse(bytes_stored=len(self.uploads[-1]))


@contextmanager
def two_parties(tls):
    """Two parties on free ports; yields them and their addresses."""
    running = []
    for index, role in enumerate((Role.PARTY0, Role.PARTY1)):
        server, port = build_server("127.0.0.1:0", tls=tls(role), access=ACCESS)
        party = Party(index)
        party_grpc.add_PartyServicer_to_server(party, server)
        server.start()
        running.append((party, f"127.0.0.1:{port}", server))
    try:
        yield [party for party, _, _ in running], [address for _, address, _ in running]
    finally:
        for _, _, server in running:
            server.stop(None).wait()


@pytest.fixture
def issued(tmp_path):
    """Certificates made by the command; returns issued(role) -> TlsFiles."""
    folder = tmp_path / "certs"
    names = {Role.OWNER: "ana", Role.CLIENT: "ward", Role.ADMIN: "operator"}
    commands = [["init", str(folder)]]
    commands += [["issue", str(folder), role, *filter(None, [names.get(role)])] for role in Role]
    app = build()
    for command in commands:
        app(["certs", *command], standalone_mode=False)

    def files(role):
        stem = f"{role}-{names[role]}" if role in names else role
        return TlsFiles(
            ca=folder / "ca.crt", certificate=folder / f"{stem}.crt", key=folder / f"{stem}.key"
        )

    return files


def write_config(path, addresses, tail):
    path.write_text(f'party0 = "{addresses[0]}"\nparty1 = "{addresses[1]}"\n{tail}')
    return load(ClientConfig, path)


def describe(config, party):
    with open_party(config, party) as channel:
        stub = party_grpc.PartyStub(channel)
        with calls_to(peer_name(party, config.party0)):
            return stub.DescribeCohort(pb.DescribeCohortRequest(), timeout=20).snapshot_id


TLS = '[tls]\nca = "certs/ca.crt"\ncertificate = "certs/{0}.crt"\nkey = "certs/{0}.key"\n'


def test_certificates_from_the_command_and_a_config_file_reach_both_parties(issued, tmp_path):
    with two_parties(issued) as (parties, addresses):
        config = write_config(tmp_path / "c.toml", addresses, TLS.format("client-ward"))
        assert [describe(config, role) for role in (Role.PARTY0, Role.PARTY1)] == ["0", "1"]
        assert [party.callers for party in parties] == [["spiffe://privedge/client/ward"]] * 2


def test_c04_parties_that_were_mixed_up_in_the_config_get_nothing(issued, tmp_path):
    with two_parties(issued) as (parties, addresses):
        config = write_config(tmp_path / "c.toml", addresses[::-1], TLS.format("client-ward"))
        with pytest.raises(Unreachable, match=r"^party 0 \(127\.0\.0\.1:\d+\): is another server"):
            describe(config, Role.PARTY0)
        assert [party.callers for party in parties] == [[], []]


def test_a_party_has_no_business_at_the_other_partys_public_door(issued, tmp_path):
    with two_parties(issued) as (_, addresses):
        config = write_config(tmp_path / "c.toml", addresses, TLS.format("party1"))
        with pytest.raises(NotAllowed):
            describe(config, Role.PARTY0)


CLAIM = 'insecure_loopback = true\nrole = "{}"\nname = "{}"\n'


def test_on_insecure_loopback_the_claim_is_the_identity(tmp_path):
    with two_parties(lambda role: None) as (parties, addresses):
        config = write_config(tmp_path / "c.toml", addresses, CLAIM.format("client", "ward"))
        assert describe(config, Role.PARTY1) == "1"
        assert parties[1].callers == ["spiffe://privedge/client/ward"]
        config = write_config(tmp_path / "c.toml", addresses, CLAIM.format("dealer", "dealer"))
        with pytest.raises(NotAllowed):
            describe(config, Role.PARTY1)


def test_insecure_loopback_ends_at_this_machine(tmp_path):
    config = write_config(tmp_path / "c.toml", ["10.0.0.1:1"] * 2, CLAIM.format("client", "w"))
    with pytest.raises(ConfigError, match=r"^10\.0\.0\.1:1: without TLS only a loopback"):
        open_party(config, Role.PARTY0)
    config = write_config(tmp_path / "c.toml", ["127.0.0.1:1"] * 2, CLAIM.format("king", "w"))
    with pytest.raises(ConfigError, match="king is none of owner, client"):
        open_party(config, Role.PARTY0)


def records(stream):
    """(type, length) of every whole TLS record in `stream`."""
    found, at = [], 0
    while at + 5 <= len(stream):
        length = int.from_bytes(stream[at + 3 : at + 5])
        found.append((stream[at], length))
        at += 5 + length
    return found


def upload(address, tls):
    with open_channel(address, server=Role.PARTY0, tls=tls) as channel:
        return upload_over(channel)


def upload_over(channel):
    stub = party_grpc.PartyStub(channel)
    with calls_to("party 0"):
        requests = iter([pb.UploadModelRequest(words=SECRET)] * 3)
        return stub.UploadModel(requests, timeout=20).bytes_stored


def test_the_cable_carries_tls_records_only_and_no_name_of_an_owner(issued):
    with two_parties(issued) as (parties, addresses):
        with Cable(addresses[0]) as cable:
            assert upload(cable.address, issued(Role.OWNER)) == 3 * len(SECRET)
        assert parties[0].uploads == [SECRET * 3]
    for stream in (bytes(cable.up), bytes(cable.down)):
        # 20 change cipher spec, 22 handshake, 23 application data
        assert {kind for kind, _ in records(stream)} <= {20, 22, 23}
        # In TLS 1.3 certificates are encrypted too.
        for text in (SECRET[:17], b"spiffe://", b"ana", b"UploadModel"):
            assert text not in stream


def test_c47_a_byte_altered_on_the_cable_ends_the_connection_and_never_reaches_a_servicer(issued):
    def flip(raw):
        # The handshake is shorter, so this is the upload.
        return raw[:-9] + bytes([raw[-9] ^ 1]) + raw[-8:] if len(raw) > 5000 else raw

    with two_parties(issued) as (parties, addresses):
        with Cable(addresses[0], alter=flip) as cable, pytest.raises(Unreachable):
            upload(cable.address, issued(Role.OWNER))
        # gRPC may tell a servicer of a lost connection as a plain end of the stream.
        assert all((SECRET * 3).startswith(seen) for seen in parties[0].uploads)
        assert upload(addresses[0], issued(Role.OWNER)) == 3 * len(SECRET)


def test_c47_a_byte_altered_on_its_way_back_is_a_lost_connection(issued):
    with (
        two_parties(issued) as (_, addresses),
        Cable(addresses[0]) as cable,
        open_channel(cable.address, server=Role.PARTY0, tls=issued(Role.OWNER)) as channel,
    ):
        assert upload_over(channel) == 3 * len(SECRET)
        cable.spoil("down")
        with pytest.raises(Unreachable):
            upload_over(channel)
        cable.heal()
        grpc.channel_ready_future(channel).result(timeout=20)
        assert upload_over(channel) == 3 * len(SECRET)

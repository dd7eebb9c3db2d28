"""Party 0 cannot use its part of an upload to test guesses of the owner's model."""

import hashlib
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import pytest

from privedge.config import ClientConfig
from privedge.ran.presets import preset
from privedge.rpc import codec
from privedge.rpc.access import ACCESS
from privedge.rpc.server import build_server
from privedge.sharing.combine import combine
from privedge.sharing.fixed_point import encode
from privedge.sharing.manifest import UploadHeader, commitment
from privedge.sharing.ring import from_bytes, to_bytes
from privedge.user import upload
from privedge.user.checkpoint import Ran
from privedge.wire import party_pb2 as pb
from privedge.wire.party_pb2_grpc import PartyServicer, add_PartyServicer_to_server

SPEC = preset("subspace32", height=32, width=32, channels=1, components=2)
# Guesses on either side of the truth, in units of the last place.
WINDOW = 2000


class Recorder(PartyServicer):
    """A party that keeps every message of an upload."""

    def DescribeCohort(self, request, context):
        return pb.DescribeCohortResponse(spec_json=SPEC.to_json())

    def UploadModel(self, request_iterator, context):
        self.messages = list(request_iterator)
        return pb.UploadModelResponse()

    def ActivateModel(self, request, context):
        return pb.ActivateModelResponse(snapshot_id="s")


@dataclass(frozen=True)
class View:
    """All that one party gets of an upload: the header, and its share of each tensor."""

    raw: bytes
    header: UploadHeader
    shares: dict

    @staticmethod
    def of(messages):
        header = codec.upload_header_from_wire(messages[0].header)
        words, shares = b"".join(message.words for message in messages[1:]), {}
        for entry in header.manifest.tensors:
            shares[entry.name] = from_bytes(words[: entry.share_bytes], entry.shape)
            words = words[entry.share_bytes :]
        return View(b"".join(m.SerializeToString() for m in messages), header, shares)


@contextmanager
def two_recorders():
    with ExitStack() as stack:
        parties, ports = (Recorder(), Recorder()), []
        for party in parties:
            server, port = build_server("127.0.0.1:0", tls=None, access=ACCESS)
            add_PartyServicer_to_server(party, server)
            server.start()
            stack.callback(lambda server=server: server.stop(None).wait())
            ports.append(port)
        yield (
            parties,
            ClientConfig(
                party0=f"127.0.0.1:{ports[0]}",
                party1=f"127.0.0.1:{ports[1]}",
                insecure_loopback=True,
                role="owner",
                name="ana",
            ),
        )


@pytest.fixture(scope="module")
def views():
    draw = np.random.default_rng(7)
    parameters = {
        name: draw.standard_normal(shape).astype(np.float32)
        for name, shape in SPEC.parameters().items()
    }
    with two_recorders() as (parties, config):
        upload.send(Ran(SPEC, "ana", parameters), "digits", config)
        return tuple(View.of(party.messages) for party in parties)


def salted(salt):
    return lambda name: commitment(salt, name)


def found(view, name, guesses, start):
    """Party 0's attack: the guesses for which the rest of its share fits party 1's commitment."""
    entry = next(entry for entry in view.header.manifest.tensors if entry.name == name)
    hits = []
    for guess in guesses:
        digest = start(name)
        digest.update(to_bytes(guess - view.shares[name]))
        if digest.hexdigest() == entry.commitments[1]:
            hits.append(guess)
    return hits


def truth(views, name):
    return combine(views[0].shares[name], views[1].shares[name])


def around(secret):
    """Every number near the secret one: what is left to guess once its rough size is known."""
    return [secret + np.uint64(step % (1 << 64)) for step in range(-WINDOW, WINDOW + 1)]


def what_party_0_could_hash_with(view):
    manifest, salt = view.header.manifest, view.header.salt
    yield lambda name: hashlib.sha256()
    known = (salt, b"", bytes(32), manifest.model_id.encode(), bytes.fromhex(manifest.spec_digest))
    for each in known:
        yield salted(each)


def test_party_0_cannot_find_the_threshold_by_trying_all_values_near_it(views):
    guesses = around(truth(views, "threshold"))
    for start in what_party_0_could_hash_with(views[0]):
        assert found(views[0], "threshold", guesses, start) == []


def test_the_same_attack_finds_the_threshold_with_party_1s_salt(views):
    secret = truth(views, "threshold")
    hits = found(views[0], "threshold", around(secret), salted(views[1].header.salt))
    assert hits == [secret]


@pytest.mark.parametrize("name", SPEC.parameters())
def test_party_0_cannot_confirm_a_tensor_it_has_guessed(views, name):
    guess = truth(views, name)
    for start in what_party_0_could_hash_with(views[0]):
        assert found(views[0], name, [guess], start) == []
    assert len(found(views[0], name, [guess], salted(views[1].header.salt))) == 1


def test_both_parties_get_one_manifest_and_neither_the_others_salt(views):
    assert views[0].header.manifest == views[1].header.manifest
    salts = [view.header.salt for view in views]
    assert salts[1] not in views[0].raw and salts[0] not in views[1].raw


def test_every_upload_has_salts_of_its_own(views):
    with two_recorders() as (parties, config):
        parameters = {
            name: np.ones(shape, dtype=np.float32) for name, shape in SPEC.parameters().items()
        }
        upload.send(Ran(SPEC, "ana", parameters), "digits", config)
        again = [View.of(party.messages) for party in parties]
    assert np.array_equal(truth(again, "threshold"), encode([1.0]))
    assert len({view.header.salt for view in (*views, *again)}) == 4

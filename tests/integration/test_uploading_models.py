"""Uploads, activation and deletion over real gRPC with mutual TLS, on real files and SQLite."""

import pickle
import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest
from model_server import (
    COHORT,
    SALTS,
    SPEC,
    TIMEOUT_S,
    Pair,
    an_upload,
    requests,
)

from privedge.errors import (
    CheckpointError,
    LimitExceeded,
    RangeError,
    UnknownModel,
)
from privedge.identity.roles import Role
from privedge.ran.narrow import tensor_bits
from privedge.ran.presets import preset
from privedge.rpc import tls
from privedge.sharing.combine import combine
from privedge.sharing.fixed_point import encode
from privedge.sharing.manifest import ModelManifest, TensorEntry
from privedge.sharing.ring import from_bytes, to_bytes
from privedge.user import models as owned
from privedge.user import upload
from privedge.user.checkpoint import Ran
from privedge.wire import party_pb2 as pb
from privedge.wire.party_pb2_grpc import PartyStub

Code = grpc.StatusCode


@pytest.fixture
def open_pair(tmp_path, tls_for):
    with ExitStack() as stack:
        yield lambda **limits: Pair(tmp_path, tls_for, stack, **limits)


@pytest.fixture
def pair(open_pair):
    return open_pair()


def a_ran(owner="ana", spec=SPEC, scale=1.0):
    draw = np.random.default_rng(7)
    parameters = {
        name: (scale * draw.standard_normal(shape)).astype(np.float32)
        for name, shape in spec.parameters().items()
    }
    return Ran(spec, owner, parameters)


def refusal_of(call, *arguments):
    with pytest.raises(grpc.RpcError) as refused:
        call(*arguments, timeout=TIMEOUT_S)
    return refused.value.code()


def snapshot_ids(pair):
    return [models.snapshot(COHORT).id for models in pair.models]


# --- The owner's way ------------------------------------------------------------------------------


def test_an_uploaded_model_is_active_at_both_parties_and_its_shares_add_up(pair):
    ran, seen = a_ran(), []
    receipt = upload.send(
        ran, COHORT, pair.client_config(), lambda doing, *counts: seen.append(counts)
    )

    assert snapshot_ids(pair) == [receipt.snapshot_id] * 2
    first, second = (models.snapshot(COHORT).models[0] for models in pair.models)
    assert first.manifest_json == second.manifest_json
    assert first.salt != second.salt
    assert first.owner == "ana" and first.model_id == receipt.model_id
    manifest = ModelManifest.from_json(first.manifest_json)
    files, start = [half.path.read_bytes() for half in (first, second)], 0
    for entry in manifest.tensors:
        assert entry.word_bits == tensor_bits(SPEC, entry.name)
        raw = [file[start : start + entry.share_bytes] for file in files]
        start += entry.share_bytes
        shares = [from_bytes(each, entry.shape, entry.word_bits) for each in raw]
        expected = to_bytes(encode(ran.parameters[entry.name]), entry.word_bits)
        assert to_bytes(combine(*shares), entry.word_bits) == expected
        assert raw[0] != expected != raw[1]
    assert start == receipt.bytes_per_party == len(files[0])
    assert seen[-1] == (2 * receipt.bytes_per_party, 2 * receipt.bytes_per_party)


def test_shares_are_kept_in_files_that_only_the_party_may_read(pair):
    receipt = upload.send(a_ran(), COHORT, pair.client_config())
    shares = pair.folder / "party0/shares"
    assert (shares / f"{receipt.model_id}.words").stat().st_mode & 0o777 == 0o600
    assert shares.stat().st_mode & 0o777 == 0o700
    assert shares.parent.stat().st_mode & 0o777 == 0o700


def test_a_second_upload_supersedes_the_first_and_removes_its_share(pair):
    config = pair.client_config()
    first = upload.send(a_ran(), COHORT, config)
    second = upload.send(a_ran(), COHORT, config)
    assert first.model_id != second.model_id
    assert snapshot_ids(pair) == [second.snapshot_id] * 2
    states = {row.model_id: row.state for row in owned.listed(config)}
    assert states == {first.model_id: "retired", second.model_id: "active"}
    for party in (0, 1):
        assert pair.files(party) == [f"{second.model_id}.words"]


def test_owners_are_described_in_the_order_of_the_answer(pair):
    for name in ("zoe", "Bo", "ana"):
        upload.send(a_ran(name), COHORT, pair.client_config(name=name))
    request = pb.DescribeCohortRequest(cohort=COHORT)
    answers = [
        pair.stub(party, Role.CLIENT, "cy").DescribeCohort(request, timeout=TIMEOUT_S)
        for party in (0, 1)
    ]
    assert answers[0] == answers[1]
    assert list(answers[0].owners) == ["Bo", "ana", "zoe"]
    assert answers[0].spec_json == SPEC.to_json()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e9])
def test_c13_a_value_that_cannot_be_shared_is_refused_before_anything_is_sent(pair, value):
    ran = a_ran()
    ran.parameters["threshold"][0] = value
    with pytest.raises(RangeError, match="threshold"):
        upload.send(ran, COHORT, pair.client_config())
    assert [models.upload_bytes for models in pair.models] == [0, 0]


def test_a_model_of_another_architecture_is_refused_before_anything_is_sent(pair):
    other = a_ran(spec=preset("subspace32", height=32, width=32, channels=1, components=3))
    with pytest.raises(CheckpointError, match=COHORT):
        upload.send(other, COHORT, pair.client_config())
    assert [models.upload_bytes for models in pair.models] == [0, 0]


def test_a_model_of_another_owner_than_the_certificate_names_is_not_sent(pair):
    with pytest.raises(CheckpointError, match="ben"):
        upload.send(a_ran("ben"), COHORT, pair.client_config(name="ana"))


def test_a_refusal_names_the_party_and_the_other_half_is_taken_back(pair):
    for _ in range(pair.models[1].limits.max_models_per_owner):
        pair.upload(an_upload(), party=1)
    with pytest.raises(LimitExceeded, match="party 1"):
        upload.send(a_ran(), COHORT, pair.client_config())
    assert pair.files(0) == []
    assert owned.listed(pair.client_config()) == []


# --- What one party refuses -----------------------------------------------------------------------


def test_c12_a_truncated_share_is_refused_and_leaves_no_file(pair):
    half = an_upload()
    body = requests(half.manifest, half.raw[0][:-1])
    assert refusal_of(pair.stub(0).UploadModel, body) is Code.INVALID_ARGUMENT
    assert pair.files(0) == []


def test_c12_trailing_bytes_are_refused_and_leave_no_file(pair):
    half = an_upload()
    body = requests(half.manifest, half.raw[0], b"\0")
    assert refusal_of(pair.stub(0).UploadModel, body) is Code.INVALID_ARGUMENT
    assert pair.files(0) == []


def test_c15_a_chunk_beyond_the_message_limit_is_refused_and_leaves_no_file(pair, tls_for):
    half = an_upload()
    options = [  # our own channels would not even send it
        ("grpc.max_send_message_length", -1),
        ("grpc.ssl_target_name_override", Role.PARTY0.host),
    ]
    credentials = tls.client_credentials(tls_for(Role.OWNER, "ana"), Role.PARTY0)
    address = f"127.0.0.1:{pair.ports[0]}"
    with grpc.secure_channel(address, credentials, options=options) as channel:
        body = requests(half.manifest, bytes(5 << 20))
        assert refusal_of(PartyStub(channel).UploadModel, body) is Code.RESOURCE_EXHAUSTED
    upload_when_free(pair, half)
    assert pair.files(0) == [f"{half.model_id}.words"]


def upload_when_free(pair, half):
    """Send a half to party 0 again and again until it has tidied up after the one before."""
    while True:
        try:
            return pair.upload(half, party=0)
        except grpc.RpcError as error:
            assert error.code() is Code.ALREADY_EXISTS


def test_c15_a_share_larger_than_the_limit_is_refused_at_its_manifest(open_pair):
    pair = open_pair(max_share_mib=1)
    half = an_upload()
    large = TensorEntry("large", (1 << 17, 2), half.manifest.tensors[0].commitments)
    manifest = replace(half.manifest, tensors=(large,))
    body = requests(manifest, bytes(1 << 20))
    assert refusal_of(pair.stub(0).UploadModel, body) is Code.RESOURCE_EXHAUSTED
    assert pair.models[0].upload_bytes == 0
    assert pair.files(0) == []


class Canary:
    """Leaves a file behind if it is ever unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_c18_a_pickle_is_not_opened_and_leaves_no_file(pair, tmp_path):
    half, canary = an_upload(), tmp_path / "canary"
    poison = pickle.dumps(Canary(canary))
    body = requests(half.manifest, poison)
    assert refusal_of(pair.stub(0).UploadModel, body) is Code.INVALID_ARGUMENT
    padded = poison.ljust(len(half.raw[0]), b"\0")
    body = requests(half.manifest, padded)
    assert refusal_of(pair.stub(0).UploadModel, body) is Code.DATA_LOSS
    assert pair.files(0) == [] and not canary.exists()


def test_c11_the_other_partys_share_is_not_accepted(pair):
    half = an_upload()
    body = requests(half.manifest, half.raw[1])
    assert refusal_of(pair.stub(0).UploadModel, body) is Code.DATA_LOSS
    assert pair.files(0) == []


def test_c11_the_other_partys_salt_is_not_accepted(pair):
    half = an_upload()
    body = requests(half.manifest, half.raw[0], salt=SALTS[1])
    assert refusal_of(pair.stub(0).UploadModel, body) is Code.DATA_LOSS
    body = requests(half.manifest, half.raw[0], salt=b"")
    assert refusal_of(pair.stub(0).UploadModel, body) is Code.INVALID_ARGUMENT
    assert pair.files(0) == []


def test_bytes_before_the_header_are_refused(pair):
    body = iter([pb.UploadModelRequest(words=b"12345678")])
    assert refusal_of(pair.stub(0).UploadModel, body) is Code.INVALID_ARGUMENT
    assert refusal_of(pair.stub(0).UploadModel, iter([])) is Code.INVALID_ARGUMENT


def test_a_second_header_is_refused_and_leaves_no_file(pair):
    half = an_upload()
    body = iter([*requests(half.manifest), *requests(half.manifest)])
    assert refusal_of(pair.stub(0).UploadModel, body) is Code.INVALID_ARGUMENT
    assert pair.files(0) == []


def manifests_that_do_not_fit():
    manifest = an_upload().manifest
    first, *rest = manifest.tensors
    yield "another architecture", replace(manifest, spec_digest="0" * 64)
    yield "a tensor less", replace(manifest, tensors=tuple(rest))
    yield "a tensor more", replace(manifest, tensors=(*manifest.tensors, replace(first, name="x")))
    yield "another order", replace(manifest, tensors=(*rest, first))
    yield (
        "another shape",
        replace(manifest, tensors=(replace(first, shape=first.shape[::-1]), *rest)),
    )
    yield "another width", replace(manifest, tensors=(replace(first, word_bits=25), *rest))


@pytest.mark.parametrize(
    ("_what", "manifest"), [*manifests_that_do_not_fit()], ids=lambda x: str(x)[:20]
)
def test_c08_a_manifest_that_does_not_fit_the_cohort_is_refused_before_its_bytes(
    pair, _what, manifest
):
    body = requests(manifest, bytes(1 << 20))
    assert refusal_of(pair.stub(0).UploadModel, body) is Code.INVALID_ARGUMENT
    assert pair.models[0].upload_bytes == 0


def test_an_upload_to_an_unknown_cohort_is_refused(pair):
    body = requests(replace(an_upload().manifest, cohort="nowhere"))
    assert refusal_of(pair.stub(0).UploadModel, body) is Code.NOT_FOUND


def test_an_upload_in_anothers_name_is_refused(pair):
    body = requests(an_upload("ben").manifest)
    assert refusal_of(pair.stub(0, name="ana").UploadModel, body) is Code.PERMISSION_DENIED


def test_only_owners_may_upload(pair):
    body = requests(an_upload().manifest)
    stub = pair.stub(0, Role.CLIENT, "ana")
    assert refusal_of(stub.UploadModel, body) is Code.PERMISSION_DENIED


def test_c20_a_repeated_upload_is_answered_again_and_stored_once(pair):
    half = an_upload()
    first = pair.upload(half, party=0)
    assert pair.upload(half, party=0) == first
    assert first.bytes_stored == len(half.raw[0])
    assert pair.files(0) == [f"{half.model_id}.words"]


def test_c21_an_id_with_other_content_is_refused_and_the_first_kept(pair):
    half = an_upload()
    pair.upload(half, party=0)
    other = an_upload(model_id=half.model_id)
    for body in (
        requests(other.manifest, other.raw[0]),
        requests(half.manifest, half.raw[0], salt=SALTS[1]),
    ):
        assert refusal_of(pair.stub(0).UploadModel, body) is Code.ALREADY_EXISTS
    stored = pair.folder / f"party0/shares/{half.model_id}.words"
    assert stored.read_bytes() == half.raw[0]


def test_c23_anothers_model_id_is_unknown_to_everybody_else(pair):
    mine = an_upload("ana")
    pair.upload(mine, party=0)
    theirs = an_upload("ben", model_id=mine.model_id)
    ben = pair.stub(0, name="ben")
    body = requests(theirs.manifest, theirs.raw[0])
    assert refusal_of(ben.UploadModel, body) is Code.NOT_FOUND
    for call, request in (
        (ben.ActivateModel, pb.ActivateModelRequest(model_id=mine.model_id)),
        (ben.DeleteModel, pb.DeleteModelRequest(model_id=mine.model_id)),
    ):
        assert refusal_of(call, request) is Code.NOT_FOUND
    assert list(ben.ListModels(pb.ListModelsRequest(), timeout=TIMEOUT_S).models) == []


def test_c22_of_two_uploads_of_one_id_at_the_same_time_one_wins(pair):
    half, halfway, go_on = an_upload(), threading.Event(), threading.Event()

    def slowly():
        yield from requests(half.manifest, half.raw[0][:8])
        halfway.set()
        go_on.wait()
        yield pb.UploadModelRequest(words=half.raw[0][8:])

    stub = pair.stub(0)
    first = stub.UploadModel.future(slowly(), timeout=TIMEOUT_S)
    halfway.wait()
    until_received(pair, 8)
    body = requests(half.manifest, half.raw[0])
    assert refusal_of(pair.stub(0).UploadModel, body) is Code.ALREADY_EXISTS
    another = an_upload()
    body = requests(another.manifest, another.raw[0])
    assert refusal_of(pair.stub(0).UploadModel, body) is Code.RESOURCE_EXHAUSTED
    go_on.set()
    assert first.result().bytes_stored == len(half.raw[0])
    assert pair.files(0) == [f"{half.model_id}.words"]


def until_received(pair, count):
    """Ask party 0 until it has read `count` bytes of an upload."""
    admin = pair.stub(0, Role.ADMIN, "root")
    while admin.Status(pb.StatusRequest(), timeout=TIMEOUT_S).upload_bytes < count:
        pass


def test_c16_an_upload_that_is_given_up_leaves_no_file(open_pair):
    pair, half, never = open_pair(upload_deadline_s=0.3), an_upload(), threading.Event()

    def stalling():
        yield from requests(half.manifest, half.raw[0][:8])
        never.wait(TIMEOUT_S)

    code = refusal_of(pair.stub(0).UploadModel, stalling())
    never.set()
    assert code in (Code.CANCELLED, Code.DEADLINE_EXCEEDED)
    upload_when_free(pair, half)
    assert pair.files(0) == [f"{half.model_id}.words"]


# --- Two parties ----------------------------------------------------------------------------------


def activate(pair, model_id, name="ana"):
    request = pb.ActivateModelRequest(model_id=model_id)
    return pair.stub(0, name=name).ActivateModel(request, timeout=TIMEOUT_S)


def test_c09_manifests_that_differ_are_refused_and_both_parties_keep_serving(pair):
    one = an_upload()
    other = an_upload(model_id=one.model_id)
    pair.upload(one, party=0)
    pair.upload(other, party=1)
    request = pb.ActivateModelRequest(model_id=one.model_id)
    assert refusal_of(pair.stub(0).ActivateModel, request) is Code.FAILED_PRECONDITION
    assert [pair.files(party) for party in (0, 1)] == [[], []]
    assert refusal_of(pair.stub(0).ActivateModel, request) is Code.NOT_FOUND
    receipt = upload.send(a_ran(), COHORT, pair.client_config())
    assert snapshot_ids(pair) == [receipt.snapshot_id] * 2


def test_c10_a_model_that_only_party_0_has_waits_for_the_other_half(pair):
    half = an_upload()
    pair.upload(half, party=0)
    request = pb.ActivateModelRequest(model_id=half.model_id)
    assert refusal_of(pair.stub(0).ActivateModel, request) is Code.FAILED_PRECONDITION
    pair.upload(half, party=1)
    answer = activate(pair, half.model_id)
    assert snapshot_ids(pair) == [answer.snapshot_id] * 2
    assert activate(pair, half.model_id).snapshot_id == answer.snapshot_id


def test_only_party_0_activates(pair):
    half = an_upload()
    pair.upload(half, party=1)
    request = pb.ActivateModelRequest(model_id=half.model_id)
    assert refusal_of(pair.stub(1).ActivateModel, request) is Code.PERMISSION_DENIED


def test_a_deleted_model_is_gone_from_both_parties_and_its_id_stays_used(pair):
    half, config = an_upload(), pair.client_config()
    for party in (0, 1):
        pair.upload(half, party)
    activate(pair, half.model_id)
    owned.delete(half.model_id, config)
    assert [models.models_active for models in pair.models] == [0, 0]
    assert [pair.files(party) for party in (0, 1)] == [[], []]
    assert owned.listed(config) == owned.listed(config, at=Role.PARTY1) == []
    owned.delete(half.model_id, config)
    body = requests(half.manifest, half.raw[0])
    assert refusal_of(pair.stub(0).UploadModel, body) is Code.ALREADY_EXISTS


def test_party_1_keeps_an_active_model_until_party_0_has_let_it_go(pair):
    receipt = upload.send(a_ran(), COHORT, pair.client_config())
    request = pb.DeleteModelRequest(model_id=receipt.model_id)
    assert refusal_of(pair.stub(1).DeleteModel, request) is Code.FAILED_PRECONDITION
    assert snapshot_ids(pair) == [receipt.snapshot_id] * 2


def test_w04_admins_see_everybodys_models_and_delete_them_together(pair):
    receipt = upload.send(a_ran(), COHORT, pair.client_config())
    admin = pair.client_config(Role.ADMIN, "root")
    assert [row.owner for row in owned.listed(admin, COHORT)] == ["ana"]
    request = pb.DeleteModelRequest(model_id=receipt.model_id)
    for _ in range(2):
        assert pair.stub(0, Role.ADMIN, "root").DeleteModel(request, timeout=TIMEOUT_S).suspended
        pair.models[0].synchronise()
        assert [row.state for row in owned.listed(admin)] == ["quarantined"]
    assert owned.delete(receipt.model_id, admin).suspended  # at both parties
    pair.models[0].synchronise()
    assert owned.listed(admin) == []
    with pytest.raises(UnknownModel):
        owned.delete("0" * 32, admin)


def test_the_counters_count_bytes_and_active_models(pair):
    receipt = upload.send(a_ran(), COHORT, pair.client_config())
    for party in (0, 1):
        stub = pair.stub(party, Role.ADMIN, "root")
        status = stub.Status(pb.StatusRequest(), timeout=TIMEOUT_S)
        assert (status.party, status.models_active) == (party, 1)
        assert status.upload_bytes == receipt.bytes_per_party

"""The split server over real mutual TLS: what it answers, what it refuses, what it says."""

import logging
import threading
from dataclasses import replace
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
import torch
from PIL import Image

from privedge.errors import (
    CheckpointError,
    ConfigError,
    DeadlineExceeded,
    ImageError,
    ManifestMismatch,
    NotAllowed,
    Unreachable,
)
from privedge.identity.roles import Role
from privedge.rpc.channel import open_channel
from privedge.rpc.deadline import Deadline
from privedge.rpc.server import build_server
from privedge_lab.baseline import codec as split_codec
from privedge_lab.baseline.client import SplitClient
from privedge_lab.baseline.config import SplitClientConfig
from privedge_lab.baseline.cut_files import CutFiles
from privedge_lab.baseline.defences import registry
from privedge_lab.baseline.head_file import new_key
from privedge_lab.baseline.model_file import load_tail
from privedge_lab.baseline.network import build
from privedge_lab.baseline.presets import lenet
from privedge_lab.baseline.serving.access import ACCESS
from privedge_lab.baseline.serving.config import SplitConfig
from privedge_lab.baseline.serving.predictor import Predictor
from privedge_lab.baseline.serving.server import quotas_of
from privedge_lab.baseline.serving.servicer import SplitServicer, served_by
from privedge_lab.baseline.train import Trainee
from privedge_lab.wire import split_pb2 as pb
from privedge_lab.wire import split_pb2_grpc

CUT = "relu2"
SPEC = lenet()
NETWORK = build(SPEC, torch.Generator().manual_seed(7)).eval()
RNG = np.random.default_rng(3)
IMAGES = RNG.integers(0, 256, (70, 28, 28), dtype=np.uint8)
Code = grpc.StatusCode


def files_in(folder, *, defence="none", strength=0.0, seed=7):
    files = CutFiles.at(folder, "lenet")
    network = build(SPEC, torch.Generator().manual_seed(seed)).eval()
    files.save(Trainee(SPEC, CUT, registry.make(defence, strength), new_key()), network, {})
    return files


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return files_in(tmp_path_factory.mktemp("lenet"))


class Running:
    """A split server in this process."""

    def __init__(self, files, tls_for, **settings):
        address = "127.0.0.1:0"
        config = SplitConfig(listen=address, tls=tls_for(Role.SPLIT), tail=files.tail, **settings)
        tail = load_tail(config.tail)
        self.predictor = Predictor(tail)
        self.served = served_by(config, tail)
        self.servicer = SplitServicer(config, self.served, self.predictor)
        self.server, port = build_server(
            address, tls=config.tls, access=ACCESS, quotas=quotas_of(config)
        )
        split_pb2_grpc.add_SplitServicer_to_server(self.servicer, self.server)
        self.server.start()
        self.address = f"127.0.0.1:{port}"
        self.tls_for = tls_for

    def client(self, files, **changes):
        config = {"server": self.address, "head": files.head, "key": files.key}
        config["tls"] = self.tls_for(Role.CLIENT, "ward-3")
        return SplitClient(SplitClientConfig(**(config | changes)))

    def stub(self):
        tls = self.tls_for(Role.CLIENT, "ward-3")
        self.channel = open_channel(self.address, server=Role.SPLIT, tls=tls)
        return split_pb2_grpc.SplitStub(self.channel)

    def stop(self):
        self.server.stop(None).wait()
        self.predictor.__exit__()


@pytest.fixture(scope="module")
def running(files, tls_for):
    server = Running(files, tls_for)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def stub(running):
    stub = running.stub()
    yield stub
    running.channel.close()


def expected(images):
    with torch.no_grad():
        return tuple(NETWORK(torch.from_numpy(images[:, None]).float() / 255).argmax(1).tolist())


def test_an_image_gets_the_label_of_the_whole_network_and_its_cost(running, files):
    with running.client(files) as client:
        reply = client.ask(IMAGES[:5])
    assert reply.labels == expected(IMAGES[:5])
    assert reply.bytes_sent == 5 * 4 * 16 * 8 * 8
    assert reply.bytes_received == 5 * 4
    assert reply.cost.online_s >= reply.cost.queue_s >= 0
    assert reply.seconds >= reply.cost.online_s > 0 and reply.device_s > 0
    assert (reply.cost.rounds, reply.cost.bytes_to_peer, reply.cost.phases) == (0, 0, ())


def test_w47_one_picture_gets_one_label_and_floats_are_refused(running, files):
    with running.client(files) as client:
        for single in (IMAGES[0], Image.fromarray(IMAGES[0]), list(IMAGES[:1])):
            assert client.ask(single).labels == expected(IMAGES[:1])
        for wrong in (IMAGES / 255, IMAGES.astype(np.uint16), IMAGES[:0], "none.png"):
            with pytest.raises(ImageError):
                client.ask(wrong)


def test_more_images_than_a_call_takes_go_in_several(running, files):
    with running.client(files) as client:
        assert client.describe().max_batch == 64
        reply = client.ask(IMAGES)
    assert reply.labels == expected(IMAGES)
    assert reply.bytes_sent == 70 * 4096


def test_logits_give_the_same_labels(files, tls_for):
    server = Running(files, tls_for, answers="logits")
    try:
        with server.client(files) as client:
            reply = client.ask(IMAGES[:3])
        assert reply.labels == expected(IMAGES[:3])
        assert reply.bytes_received == 3 * 4 * 10
    finally:
        server.stop()


def test_a_head_of_another_training_is_refused_before_anything_is_sent(running, tmp_path):
    other = files_in(tmp_path, seed=8)
    with running.client(other) as client, pytest.raises(ManifestMismatch, match="this head"):
        client.ask(IMAGES[:1])


def test_a_server_that_has_another_tail_by_now_is_noticed(files, tls_for):
    server = Running(files, tls_for)
    try:
        with server.client(files) as client:
            client.ask(IMAGES[:1])
            server.servicer._served = replace(server.served, tail="00" * 32)
            with pytest.raises(ManifestMismatch, match="this head"):
                client.ask(IMAGES[:1])
    finally:
        server.stop()


def header(running, **changes):
    tail, shape = running.served.tail, (1, *running.served.sent_shape)
    return split_codec.asked_to_wire(changes.get("tail", tail), changes.get("shape", shape))


def parts(running, values=None, **changes):
    yield pb.PredictRequest(header=header(running, **changes))
    if values is None:
        values = np.zeros(running.served.sent_shape, "<f4")
    raw = values.tobytes()
    for start in range(0, len(raw), 1 << 20):
        yield pb.PredictRequest(activations=raw[start : start + (1 << 20)])


SENT = (16, 8, 8)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (lambda it: [], Code.INVALID_ARGUMENT),
        (lambda it: [pb.PredictRequest()], Code.INVALID_ARGUMENT),
        (lambda it: list(parts(it))[1:], Code.INVALID_ARGUMENT),
        (lambda it: list(parts(it))[:1], Code.INVALID_ARGUMENT),
        (lambda it: [*parts(it), pb.PredictRequest(activations=b"more")], Code.INVALID_ARGUMENT),
        (lambda it: [*parts(it)][:1] * 2, Code.INVALID_ARGUMENT),
        (lambda it: parts(it, tail="00" * 32), Code.INVALID_ARGUMENT),
        (lambda it: parts(it, shape=(1, 16, 8, 9)), Code.INVALID_ARGUMENT),
        (lambda it: parts(it, shape=(1, 1024)), Code.INVALID_ARGUMENT),
        (lambda it: parts(it, shape=(2, *SENT)), Code.INVALID_ARGUMENT),
        (lambda it: parts(it, np.full(SENT, np.nan, "<f4")), Code.INVALID_ARGUMENT),
        (lambda it: parts(it, np.full(SENT, np.inf, "<f4")), Code.INVALID_ARGUMENT),
        # Finite, but the sums of the next layer are not.
        (lambda it: parts(it, np.full(SENT, 3e38, "<f4")), Code.INVALID_ARGUMENT),
        (lambda it: parts(it, shape=(65, *SENT)), Code.RESOURCE_EXHAUSTED),
    ],
)
def test_what_is_refused_is_refused_and_the_server_goes_on(running, stub, asked, code):
    with pytest.raises(grpc.RpcError) as refusal:
        list(stub.Predict(iter(asked(running)), timeout=20))
    assert refusal.value.code() is code
    served = list(stub.Predict(parts(running), timeout=20))
    assert served[0].header.shape == [1]


def test_bytes_that_are_no_message_are_refused(running, stub):
    call = running.channel.stream_stream("/privedge.v1.Split/Predict")
    with pytest.raises(grpc.RpcError) as refusal:
        list(call(iter([b"\xff\xff"]), timeout=20))
    assert refusal.value.code() is Code.INVALID_ARGUMENT


@pytest.mark.parametrize("role", [Role.OWNER, Role.ADMIN, Role.PARTY0, Role.DEALER])
def test_others_than_clients_are_refused(running, files, role):
    tls = running.tls_for(role, None if role.serves else "somebody")
    with running.client(files, tls=tls) as client, pytest.raises(NotAllowed):
        client.ask(IMAGES[:1])


def test_a_party_cannot_stand_in_for_the_split_server(files, tls_for):
    server, port = build_server("127.0.0.1:0", tls=tls_for(Role.PARTY0), access=ACCESS)
    server.start()
    try:
        config = SplitClientConfig(
            server=f"127.0.0.1:{port}", head=files.head, key=files.key,
            tls=tls_for(Role.CLIENT, "ward-3"), rpc_timeout_s=5,
        )  # fmt: skip
        with SplitClient(config) as client, pytest.raises(Unreachable):
            client.describe()
    finally:
        server.stop(None).wait()


def test_one_client_has_so_many_calls_at_once(files, tls_for):
    server = Running(files, tls_for, limits={"max_queries": 8, "max_queries_per_client": 1})
    begun, busy = held_up(server.predictor)
    stub = server.stub()
    try:
        first = stub.Predict(parts(server), timeout=60)
        begun.wait(20)
        with pytest.raises(grpc.RpcError) as refusal:
            list(stub.Predict(parts(server), timeout=20))
        assert refusal.value.code() is Code.RESOURCE_EXHAUSTED
        busy.set()
        assert next(first).header.shape == [1]
    finally:
        busy.set()
        server.channel.close()
        server.stop()


def test_a_call_that_stops_half_way_is_cut_off(files, tls_for):
    server = Running(files, tls_for, query_deadline_s=0.3)
    stub, never = server.stub(), threading.Event()

    def half():
        yield from list(parts(server))[:1]
        never.wait()

    try:
        with pytest.raises(grpc.RpcError) as ending:
            list(stub.Predict(half(), timeout=60))
        assert ending.value.code() is Code.CANCELLED
    finally:
        never.set()
        server.channel.close()
        server.stop()


def held_up(predictor):
    """Two events: a batch has begun; it may go on."""
    begun, busy, layers = threading.Event(), threading.Event(), predictor._layers

    def wait_then(values):
        begun.set()
        busy.wait()
        return layers(values)

    predictor._layers = wait_then
    return begun, busy


def test_a_batch_that_waits_too_long_for_the_processor_is_given_up(files):
    batch = np.zeros((1, *SENT), np.float32)
    with Predictor(load_tail(files.tail)) as predictor:
        begun, busy = held_up(predictor)
        first = predictor.start(batch)
        begun.wait(20)
        second = predictor.start(batch)
        with pytest.raises(DeadlineExceeded):
            second.result(Deadline.after(0.05))
        busy.set()
        assert first.result(Deadline.after(20)).logits.shape == (1, 10)


def test_activations_larger_than_a_message_arrive_whole(files, tls_for):
    server = Running(files, tls_for, limits={"max_batch": 2000})
    try:
        with server.client(files) as client:
            many = np.concatenate([IMAGES] * 20)
            reply = client.ask(many)
        assert reply.bytes_sent == 1400 * 4096 > 4 << 20
        assert reply.labels == expected(IMAGES) * 20
    finally:
        server.stop()


def test_the_limit_on_bytes_lowers_the_batch(files, tls_for):
    config = SplitConfig(
        listen="127.0.0.1:0", insecure_loopback=True, tail=files.tail,
        limits={"max_batch": 4096, "max_query_mib": 1},
    )  # fmt: skip
    assert served_by(config, load_tail(files.tail)).max_batch == (1 << 20) // 4096


def test_a_cut_whose_activations_never_fit_is_refused_at_the_start(tmp_path):
    wide = SPEC.model_copy(update={"input": (1, 1020, 1020)})
    tail = SimpleNamespace(spec=wide, cut="conv1", digest="0" * 64)
    config = SplitConfig(
        listen="127.0.0.1:0", insecure_loopback=True, tail=tmp_path / "x",
        limits={"max_query_mib": 31},
    )  # fmt: skip
    with pytest.raises(ConfigError, match="max_query_mib"):
        served_by(config, tail)


def test_a_regression_is_refused_at_the_start(tmp_path):
    spec = SPEC.model_copy(update={"classes": 1})
    tail = SimpleNamespace(spec=spec, cut="conv1", digest="0" * 64)
    config = SplitConfig(listen="127.0.0.1:0", insecure_loopback=True, tail=tmp_path / "x")
    with pytest.raises(ConfigError, match="predicts a value"):
        served_by(config, tail)


def test_nothing_of_an_image_or_answer_is_logged(running, files, caplog):
    with caplog.at_level(logging.DEBUG), running.client(files) as client:
        client.ask(IMAGES[:2])
    ours = [
        record.getMessage() for record in caplog.records if record.name.startswith("privedge_lab")
    ]
    assert len(ours) == 1
    assert ours[0].startswith("2 images in ") and ours[0].endswith(" ms")


def test_a_damaged_key_is_noticed_before_anything_is_sent(running, tmp_path):
    noisy = files_in(tmp_path, defence="gaussian", strength=0.5)
    noisy.key.write_bytes(bytes(31))
    with pytest.raises(CheckpointError, match="has 31"):
        running.client(noisy)

"""The files of a cut network: the same network comes back, and nothing else is accepted."""

import json
import os

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save as to_safetensors

from privedge.errors import CheckpointError, ConfigError
from privedge_lab.baseline.cut_files import CutFiles
from privedge_lab.baseline.defence import Device, Fold
from privedge_lab.baseline.defences import registry
from privedge_lab.baseline.head_file import load_head, load_key, new_key, save_key
from privedge_lab.baseline.model_file import load_tail, save_tail
from privedge_lab.baseline.network import build, head, tail
from privedge_lab.baseline.spec import BatchNorm, Conv, Linear, NetworkSpec, Plain
from privedge_lab.baseline.train import Trainee
from privedge_lab.datasets import Labelled

SPEC = NetworkSpec(
    name="tiny",
    input=(1, 8, 8),
    mean=(0.4,),
    std=(0.3,),
    classes=3,
    layers=(
        Conv(name="conv1", inputs=1, outputs=2, kernel=3),
        BatchNorm(name="norm1", channels=2),
        Plain(name="relu1", kind="relu"),
        Plain(name="flat", kind="flatten"),
        Linear(name="fc1", inputs=72, outputs=3),
    ),
)
NETWORK = build(SPEC, torch.Generator().manual_seed(4)).eval()
IMAGES = torch.rand((5, 1, 8, 8), generator=torch.Generator().manual_seed(5))
KEY = bytes(range(32))


def saved(folder, *, cut="relu1", defence="none", strength=0.0, repeat="per-input", key=KEY):
    files = CutFiles.at(folder, "tiny")
    trainee = Trainee(SPEC, cut, registry.make(defence, strength, repeat), key)
    files.save(trainee, NETWORK, {"seed": "4"})
    return files


@pytest.mark.parametrize("cut", SPEC.cuts)
def test_device_and_server_together_compute_what_the_network_did(tmp_path, cut):
    files = saved(tmp_path, cut=cut)
    part, server = load_head(files.head), load_tail(files.tail)
    assert (part.spec, part.cut, part.facts) == (SPEC, cut, {"seed": "4"})
    assert part.tail == server.digest
    sent = part.device(load_key(files.key)).send(IMAGES)
    assert torch.equal(server.layers(sent), NETWORK(IMAGES))


def test_the_defence_comes_back_with_its_settings(tmp_path):
    files = saved(tmp_path, defence="dropping", strength=0.5, repeat="fixed")
    part = load_head(files.head)
    assert (part.defence.name, part.defence.strength, part.defence.repeat) == (
        "dropping", 0.5, "fixed",
    )  # fmt: skip
    sent = part.device(KEY).send(IMAGES)
    assert 0 < (sent == 0).float().mean() < 1
    assert torch.equal(sent, part.device(KEY).send(IMAGES))


@pytest.mark.parametrize("name", registry.NAMES)
def test_what_a_defence_learned_comes_back_with_it(tmp_path, name):
    files = CutFiles.at(tmp_path, "tiny")
    defence = registry.make(name, 0.5, private="secret")
    data = Labelled(IMAGES, torch.arange(5) % 3, {"secret": torch.arange(5) % 2})
    device = head(NETWORK, "flat")
    with torch.enable_grad():
        if defence.trains:
            defence.begin(device, data, torch.Generator().manual_seed(6))
        defence.finish(device, data)
        if defence.folds:
            defence.calibrate(device, [Fold(device, data, data)])
    files.save(Trainee(SPEC, "flat", defence, KEY), NETWORK, {})
    sent = Device(device, defence, KEY).send(IMAGES)
    assert torch.equal(load_head(files.head).device(KEY).send(IMAGES), sent)


def test_with_fixed_draws_the_key_of_another_deployment_is_refused(tmp_path):
    fixed = load_head(saved(tmp_path, defence="dropping", strength=0.5, repeat="fixed").head)
    with pytest.raises(CheckpointError, match="not the one"):
        fixed.device(bytes(32))
    per_input = load_head(saved(tmp_path, defence="gaussian", strength=0.5).head)
    assert per_input.device(bytes(32)).send(IMAGES).shape == (5, 2, 6, 6)


def test_the_tail_holds_nothing_of_the_device(tmp_path):
    files = saved(tmp_path, defence="gaussian", strength=0.125)
    with safe_open(files.tail, framework="pt") as file:
        assert set(file.keys()) == {"fc1.weight", "fc1.bias"}
        told = "".join(file.metadata().values())
    assert "gaussian" not in told and "0.125" not in told and KEY.hex() not in told


def test_all_files_are_for_their_owner_only_and_show_no_weights(tmp_path):
    files = saved(tmp_path)
    for path in (files.head, files.tail, files.key):
        assert path.stat().st_mode & 0o777 == 0o600
    assert "tensor" not in repr(load_head(files.head)) + repr(load_tail(files.tail))
    assert "key_digest=None" in repr(load_head(files.head))


def test_the_same_network_gives_the_same_files(tmp_path):
    first = {path.name: path.read_bytes() for path in vars(saved(tmp_path)).values()}
    again = {path.name: path.read_bytes() for path in vars(saved(tmp_path)).values()}
    assert first == again


def test_a_part_is_not_taken_for_the_other(tmp_path):
    files = saved(tmp_path)
    with pytest.raises(CheckpointError, match=r"no head .* give the \.head file"):
        load_head(files.tail)
    with pytest.raises(CheckpointError, match="no tail"):
        load_tail(files.head)


def test_weights_that_do_not_fit_are_not_written(tmp_path):
    path = tmp_path / "x.tail"
    with pytest.raises(CheckpointError, match=r"conv1.bias should be absent"):
        save_tail(path, SPEC, "flat", head(NETWORK, "flat"))
    layers = tail(build(SPEC), "flat")
    with torch.no_grad():
        layers.fc1.bias[0] = torch.nan
    with pytest.raises(CheckpointError, match=r"fc1.bias is not finite"):
        save_tail(path, SPEC, "flat", layers)
    assert list(tmp_path.iterdir()) == []


def test_a_key_is_fresh_and_never_replaced(tmp_path):
    path = tmp_path / "a.key"
    save_key(path, first := new_key())
    assert load_key(path) == first != new_key()
    with pytest.raises(CheckpointError, match="exists"):
        save_key(path, new_key())
    path.chmod(0o640)
    with pytest.raises(CheckpointError, match="chmod 600"):
        load_key(path)
    path.write_bytes(b"short")
    path.chmod(0o600)
    with pytest.raises(CheckpointError, match="has 5"):
        load_key(path)


def test_a_key_that_devices_have_is_not_silently_another_one(tmp_path):
    files = saved(tmp_path)
    before = files.head.read_bytes()
    with pytest.raises(CheckpointError, match="another key"):
        saved(tmp_path, cut="conv1", key=bytes(32))
    assert files.head.read_bytes() == before and load_key(files.key) == KEY


def test_files_have_plain_names(tmp_path):
    for name in ("", "../x", "A", "a/b", "a b"):
        with pytest.raises(ConfigError, match="a name has"):
            CutFiles.at(tmp_path, name)


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    files = saved(tmp_path_factory.mktemp("intact"))
    return {"head": files.head.read_bytes(), "tail": files.tail.read_bytes()}


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None
)
@given(data=st.data())
def test_a_damaged_file_is_refused_in_one_line(tmp_path, intact, data):
    part = data.draw(st.sampled_from(["head", "tail"]))
    path = tmp_path / f"tiny.{part}"
    raw = bytearray(intact[part])
    at = data.draw(st.integers(0, len(raw) - 1))
    if data.draw(st.booleans()):
        raw[at] ^= data.draw(st.integers(1, 255))
    else:
        raw = raw[:at]
    path.write_bytes(raw)
    load = {"head": load_head, "tail": load_tail}[part]
    try:
        back = load(path)
    except CheckpointError as refusal:
        assert str(path) in str(refusal) and "\n" not in str(refusal)
    else:  # a blank of the header that became another blank
        layers = {"head": head, "tail": tail}[part](NETWORK, "relu1")
        assert all(torch.equal(a, b) for a, b in zip(
            back.layers.state_dict().values(), layers.state_dict().values(), strict=True
        ))  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format 2"),
        ({"part": "body"}, "no tail"),
        ({"sha256": "0" * 64}, "is damaged"),
        ({"cut": "fc1"}, "is damaged"),
    ],
)
def test_a_changed_description_is_refused(tmp_path, change, message):
    files = saved(tmp_path)
    with safe_open(files.tail, framework="pt") as file:
        described = json.loads(file.metadata()["privedge-split"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    metadata = {"privedge-split": json.dumps(described | change)}
    files.tail.write_bytes(to_safetensors(tensors, metadata))
    with pytest.raises(CheckpointError, match=message):
        load_tail(files.tail)


@pytest.mark.parametrize("metadata", [None, {}, {"privedge-split": "[" * 99_999}, {"x": "y"}])
def test_other_safetensors_files_are_refused(tmp_path, metadata):
    path = tmp_path / "x.tail"
    path.write_bytes(to_safetensors({"a": torch.zeros(1)}, metadata))
    with pytest.raises(CheckpointError, match="was not written by"):
        load_tail(path)


def test_a_missing_or_huge_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_tail(tmp_path / "none.tail")
    huge = tmp_path / "huge.tail"
    with huge.open("wb") as file:
        os.truncate(file.fileno(), (1 << 30) + 1)
    with pytest.raises(CheckpointError, match="larger than"):
        load_tail(huge)

"""The file of a RAN: it gives the same RAN back, and no other file is accepted."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save as to_safetensors

from privedge import Client, Owner
from privedge.errors import CheckpointError, ConfigError
from privedge.ran.presets import preset
from privedge.user import checkpoint
from privedge.user.checkpoint import Ran

SPEC = preset("ran32", height=32, width=32, channels=1)
RNG = np.random.default_rng(0)
PARAMETERS = {
    name: RNG.standard_normal(shape).astype(np.float32) for name, shape in SPEC.parameters().items()
}
ANA = Ran(SPEC, "ana", PARAMETERS, {"steps": "9"})


def described(**changes) -> dict[str, str]:
    text = {"format": 1, "spec": json.loads(SPEC.to_json()), "owner": "ana", "facts": {}}
    return {"privedge": json.dumps(text | changes)}


def refused(path, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as refusal:
        checkpoint.load(path)
    assert path.name in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_same_ran_comes_back(tmp_path):
    checkpoint.save(ANA, tmp_path / "ana.ran")
    back = checkpoint.load(tmp_path / "ana.ran")
    assert (back.spec, back.owner, back.facts) == (ANA.spec, ANA.owner, ANA.facts)
    assert list(back.parameters) == list(SPEC.parameters())
    for name, value in back.parameters.items():
        assert np.array_equal(value, PARAMETERS[name])


def test_the_same_ran_gives_the_same_bytes_readable_by_the_owner_only(tmp_path):
    for name in ("a", "b"):
        checkpoint.save(ANA, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600


def test_parameters_do_not_show_in_a_rans_text():
    assert "array" not in repr(ANA)


def test_saving_replaces_the_old_file_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "ana.ran"
    checkpoint.save(ANA, path)
    checkpoint.save(replace(ANA, owner="bo"), path)
    assert checkpoint.load(path).owner == "bo"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_save_names_the_file_and_leaves_nothing(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(CheckpointError, match="taken: exists and is not a file"):
        checkpoint.save(ANA, tmp_path / "taken")
    with pytest.raises(CheckpointError, match="folder does not exist"):
        checkpoint.save(ANA, tmp_path / "none" / "ana.ran")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize("owner", ["", "ana maria", "-ana", "a" * 65, "a/b", "ana\n"])
def test_an_owner_needs_a_plain_name(tmp_path, owner):
    with pytest.raises(CheckpointError, match="owner's name"):
        checkpoint.save(replace(ANA, owner=owner), tmp_path / "ana.ran")


def test_a_missing_file_is_named(tmp_path):
    refused(tmp_path / "none.ran", "cannot be read")


@pytest.mark.parametrize("content", [b"", b"{}", pickle.dumps({"a": 1}), b"\xff" * 100])
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    path = tmp_path / "bad.ran"
    path.write_bytes(content)
    refused(path, "is not a sound safetensors file|cannot be read")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "was not written by privedge train"),
        ({"privedge": "{"}, "was not written by privedge train"),
        (described(format=2), "format 2"),
        (described(owner="ana maria"), "owner's name"),
        (described(facts={"a": 1}), "facts"),
        (described(spec=None), "spec"),
        (described(spec={**json.loads(SPEC.to_json()), "code": "x"}), "code"),
    ],
)
def test_unusable_metadata_is_refused(tmp_path, metadata, message):
    path = tmp_path / "bad.ran"
    path.write_bytes(to_safetensors(PARAMETERS, metadata))
    refused(path, message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"0.weight": np.zeros((32, 8, 2, 3), np.float32)}, "parameter 0.weight should be"),
        ({"0.weight": np.zeros((32, 8, 2, 2), np.float64)}, "parameter 0.weight should be"),
        ({"9.weight": np.zeros(1, np.float32)}, "parameter 9.weight should be absent"),
        ({"0.bias": np.full(32, np.nan, np.float32)}, "0.bias is not finite"),
    ],
)
def test_parameters_that_do_not_fit_the_spec_are_refused(tmp_path, changes, message):
    path = tmp_path / "bad.ran"
    path.write_bytes(to_safetensors(PARAMETERS | changes, described()))
    refused(path, message)
    with pytest.raises(CheckpointError, match=message):
        checkpoint.save(replace(ANA, parameters=PARAMETERS | changes), tmp_path / "new.ran")
    assert not (tmp_path / "new.ran").exists()


def test_a_missing_parameter_is_named(tmp_path):
    path = tmp_path / "bad.ran"
    rest = {name: value for name, value in PARAMETERS.items() if name != "threshold"}
    path.write_bytes(to_safetensors(rest, described()))
    refused(path, "parameter threshold .* is absent")


def test_c14_a_basis_that_is_not_orthonormal_is_refused(tmp_path):
    spec = preset("subspace32", height=32, width=32, channels=1, components=3)
    values = {name: np.zeros(shape, np.float32) for name, shape in spec.parameters().items()}
    checkpoint.save(Ran(spec, "ana", values), tmp_path / "zero.ran")
    values["0.basis"][0, :2] = 1
    with pytest.raises(CheckpointError, match="not orthonormal"):
        checkpoint.save(Ran(spec, "ana", values), tmp_path / "bad.ran")


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 2000), value=st.integers(0, 255))
def test_a_damaged_file_is_read_or_refused_but_never_crashes(tmp_path, position, value):
    path = tmp_path / "damaged.ran"
    checkpoint.save(ANA, path)
    raw = bytearray(path.read_bytes())
    raw[position] = value
    path.write_bytes(bytes(raw))
    try:
        checkpoint.load(path)
    except CheckpointError as refusal:
        assert "damaged.ran" in str(refusal)


@pytest.mark.parametrize("path", [5, None, b"ana.ran", ["ana.ran"], "", "a\0b"])
def test_w48_what_is_no_name_of_a_file_is_the_librarys_own_error(path):
    for use in (Ran.load, Client.from_file, Owner.from_file):
        with pytest.raises(CheckpointError if use == Ran.load else ConfigError):
            use(path)


def test_w48_a_model_is_locked_by_one_thing(tmp_path):
    for wrong in ({"passphrase": 5}, {"passphrase": "long enough", "key_file": tmp_path}):
        with pytest.raises(CheckpointError, match="passphrase"):
            Ran.load(tmp_path / "ana.ran", **wrong)

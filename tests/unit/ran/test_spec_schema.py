"""docs/reference/ran-spec.schema.json accepts and refuses what the code does."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator, ValidationError

from privedge.errors import CheckpointError
from privedge.ran.feature_kinds import Vector
from privedge.ran.presets import PRESETS, preset
from privedge.ran.spec import RanSpec, Subspace

PAGE = Path(__file__).resolve().parents[3] / "docs/reference/ran-spec.schema.json"
SCHEMA = Draft202012Validator(json.loads(PAGE.read_text()))
SOUND = json.loads(preset("conv32", height=32, width=32, channels=1).to_json())
VECTORS = RanSpec(
    name="vector", image=None, features=Vector(size=5), layers=(Subspace(components=1),)
)


def test_the_schema_is_one():
    Draft202012Validator.check_schema(SCHEMA.schema)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", PRESETS)
def test_the_schema_accepts_every_preset(name, channels):
    SCHEMA.validate(json.loads(preset(name, height=32, width=32, channels=channels).to_json()))


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Not A Name"},
        {"image": {"height": 4, "width": 32, "channels": 1}},
        {"image": {"height": 32, "width": 32, "channels": 2}},
        {"features": {"kind": "unheard-of"}},
        {"features": {"kind": "oriented"}},
        {"image": None, "features": {"kind": "vector", "size": 1}},
        {"image": None, "features": {"kind": "vector", "size": 5, "unit_length": 2}},
        {"layers": []},
        {"layers": [{"kind": "lambda", "code": "x"}]},
        {"layers": [{"kind": "conv", "channels": 0, "kernel": 3}]},
        {"layers": [{"kind": "relu", "more": 1}]},
        {"more": 1},
    ],
    ids=json.dumps,
)
def test_the_schema_refuses_what_the_code_refuses(change):
    spec = {**SOUND, **change}
    with pytest.raises(ValidationError):
        SCHEMA.validate(spec)
    with pytest.raises(CheckpointError):
        RanSpec.from_json(json.dumps(spec))


@pytest.mark.parametrize("field", ["name", "image", "features", "layers"])
def test_every_field_is_needed(field):
    spec = {key: value for key, value in SOUND.items() if key != field}
    with pytest.raises(ValidationError):
        SCHEMA.validate(spec)
    with pytest.raises(CheckpointError):
        RanSpec.from_json(json.dumps(spec))


def test_a_spec_of_vectors_has_no_image_and_survives_json():
    SCHEMA.validate(json.loads(VECTORS.to_json()))
    assert json.loads(VECTORS.to_json())["image"] is None
    assert RanSpec.from_json(VECTORS.to_json()) == VECTORS
    assert VECTORS.parameters() == {"0.basis": (1, 5), "0.mean": (5,), "threshold": (1,)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image": None}, "spec: image: is missing; the features pixels need one"),
        (
            {"features": {"kind": "vector", "size": 5}},
            "spec: image: must be null, because the features are vectors",
        ),
    ],
)
def test_only_a_spec_of_vectors_has_no_image(change, said):
    with pytest.raises(CheckpointError, match=f"^{said}$"):
        RanSpec.from_json(json.dumps({**SOUND, **change}))

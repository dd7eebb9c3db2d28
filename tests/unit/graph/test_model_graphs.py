"""A graph of a served model is data from others: bounded, checked, and refused in one line."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

from privedge.errors import CheckpointError
from privedge.graph.layers import comparisons
from privedge.graph.spec import MAX_JSON_BYTES, ModelSpec, outputs_of
from privedge.ran.any_spec import of_model, of_rans, spec_from_json
from privedge.ran.presets import preset

PAGE = Path(__file__).resolve().parents[3] / "docs/reference/model-spec.schema.json"
SCHEMA = Draft202012Validator(json.loads(PAGE.read_text()))
CONV = {"kind": "conv", "channels": 4, "kernel": [3, 3], "padding": [1, 1]}
SOUND: dict[str, Any] = {
    "kind": "model",
    "name": "triage",
    "input": [1, 8, 8],
    "layers": [
        CONV,
        {"kind": "relu"},
        {**CONV, "of": 0},
        {"kind": "add", "plus": 1},
        {"kind": "max_pool", "window": 2, "stride": 2},
        {"kind": "average_pool", "window": [2, 2], "stride": 2},
        {"kind": "square"},
        {"kind": "flatten"},
        {"kind": "dense", "features": 3},
    ],
    "outputs": {"kind": "rounded", "bits": 4},
    "labels": ["no", "maybe", "yes"],
}


def test_a_spec_survives_its_text_and_says_its_shapes():
    spec = ModelSpec.from_json(json.dumps(SOUND))
    SCHEMA.validate(json.loads(spec.to_json()))
    assert ModelSpec.from_json(spec.to_json()) == spec
    assert spec.shapes()[-3:] == [(4, 2, 2), (16,), (3,)]
    assert spec.parameters() == {
        "0.weight": (4, 1, 3, 3),
        "0.bias": (4,),
        "2.weight": (4, 4, 3, 3),
        "2.bias": (4,),
        "8.weight": (3, 16),
        "8.bias": (3,),
    }
    assert (spec.width, spec.classes, spec.fractional_bits) == (3, 3, 4)


SIGNAL: dict[str, Any] = {
    **SOUND,
    "input": [3, 128],
    "layers": [
        {"kind": "conv", "channels": 8, "kernel": [1, 5], "padding": [0, 2], "stride": 2},
        {"kind": "max_pool", "window": 4, "stride": 2},
        {"kind": "add", "plus": 1},
        {"kind": "average_pool", "window": [1, 31], "stride": 1},
        {"kind": "flatten"},
        {"kind": "dense", "features": 3},
    ],
}


def test_a_signal_stays_a_signal():
    spec = ModelSpec.from_json(json.dumps(SIGNAL))
    SCHEMA.validate(json.loads(spec.to_json()))
    assert spec.shapes() == [(8, 64), (8, 31), (8, 31), (8, 1), (8,), (3,)]
    assert spec.parameters()["0.weight"] == (8, 3, 1, 5)
    assert comparisons(spec.layers[1], (8, 64), (8, 31)) == 8 * 31 * 6


def test_fewer_samples_of_a_large_model_fit_into_one_run():
    small = ModelSpec.from_json(json.dumps(SOUND))
    assert small.most_rows > 64
    layers = [{**CONV, "channels": 16}, {"kind": "relu"}, *SOUND["layers"][7:]]
    large = ModelSpec.from_json(json.dumps({**SOUND, "input": [4, 128, 128], "layers": layers}))
    # 16 * 128 * 128 comparisons of one sample, of 2^22.
    assert large.most_rows == 16
    wide = {"kind": "conv", "channels": 1, "kernel": [16, 16]}
    layers = [wide, {"kind": "flatten"}, SOUND["layers"][8]]
    unfolded = ModelSpec.from_json(json.dumps({**SOUND, "input": [1, 64, 64], "layers": layers}))
    assert unfolded.most_rows == (1 << 24) // (256 * 49 * 49)


def test_the_digest_covers_what_may_leave():
    digests = {
        ModelSpec.from_json(json.dumps({**SOUND, "outputs": outputs})).digest()
        for outputs in ({"kind": "label"}, {"kind": "scores"}, SOUND["outputs"])
    }
    assert len(digests) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Not A Name"},
        {"input": []},
        {"input": [0]},
        {"input": [1, 2, 3, 4]},
        {"layers": []},
        {"layers": [{"kind": "lambda", "code": "x"}]},
        {"layers": [{"kind": "dense", "features": True}]},
        {"layers": [{"kind": "dense", "features": 1.0e9}]},
        {"layers": [{"kind": "relu", "code": "x"}]},
        {"layers": [{"kind": "relu", "of": -2}]},
        {"layers": [{"kind": "max_pool", "window": 5, "stride": 1}]},
        {"layers": [{"kind": "relu"}] * 129},
        {"outputs": {"kind": "weights"}},
        {"outputs": {"kind": "rounded", "bits": 13}},
        {"labels": ["a\nb", "c", "d"]},
        {"labels": ["a\x9b2Jb", "c", "d"]},
        {"labels": ["a\u202eb", "c", "d"]},
        {"more": 1},
    ],
    ids=lambda change: json.dumps(change)[:40],
)
def test_what_is_not_on_the_list_is_refused_in_one_line(change):
    spec = {**SOUND, **change}
    with pytest.raises(ValidationError):
        SCHEMA.validate(spec)
    with pytest.raises(CheckpointError) as refused:
        ModelSpec.from_json(json.dumps(spec))
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels": ["a"]}, "model triage: has 1 labels for 3 classes"),
        ({"layers": [{"kind": "relu"}]}, "its last layer gives .*, not up to 1024 scores"),
        ({"layers": [{"kind": "dense", "features": 3}]}, "needs one dimension, .*; flatten it"),
        ({"layers": [{"kind": "relu", "of": 0}]}, "takes the output of a layer that comes later"),
        ({"layers": [{"kind": "add", "plus": 5}]}, "takes the output of a layer that comes later"),
        ({"layers": [CONV, {"kind": "add", "plus": -1}]}, "what is added has other shapes"),
        ({"layers": [{**CONV, "kernel": [11, 1]}]}, "its window is larger than its input"),
        ({"input": [3, 9], "layers": [CONV]}, "is a signal; its window needs height 1"),
        (
            {"input": [3, 9], "layers": [{"kind": "average_pool", "window": [2, 2], "stride": 1}]},
            "is a signal; its window needs height 1",
        ),
        (
            {"input": [3, 9], "layers": [{**SIGNAL["layers"][0], "kernel": [1, 15]}]},
            "its window is larger than its input",
        ),
        ({"input": [9], "layers": [CONV]}, r"needs \(channels, length\) or \(channels, height, w"),
        (
            {"input": [1, 4097], "layers": [{"kind": "average_pool", "window": [1, 4097],
                                            "stride": 1}]},
            "window.1: Input should be less than or equal to 4096",
        ),
        (
            {"layers": [{"kind": "average_pool", "window": [128, 64], "stride": 1}]},
            "a mean is of at most 4096 values",
        ),
        ({"input": [4, 65536, 65536]}, "values in one layer are more than"),
        (
            {"input": [8192], "layers": [{"kind": "dense", "features": 8192}] * 2
             + [{"kind": "dense", "features": 3}]},
            "parameters are more than",
        ),
        (
            {"input": [64, 32, 32], "layers": [{**CONV, "channels": 256, "kernel": [9, 9],
                                               "padding": [4, 4]}, *SOUND["layers"][7:]]},
            "products are more than",
        ),
        (
            {"input": [4, 256, 256], "layers": [{**CONV, "channels": 1, "kernel": [16, 16]},
                                               *SOUND["layers"][7:]]},
            "numbers in the windows of one layer are more than",
        ),
        (
            {"input": [4, 128, 128], "layers": [{"kind": "relu"}] * 20 + SOUND["layers"][7:]},
            "comparisons are more than",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_does_not_fit_or_is_too_large_is_refused(change, said):
    with pytest.raises(CheckpointError, match=said):
        ModelSpec.from_json(json.dumps({**SOUND, "labels": [], **change}))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"kind": "model"}', "[" * 100_000, '{"kind":"model","name":' + "9" * 9999],
    ids=["empty", "list", "cut off", "bare", "deep", "long number"],
)
def test_what_is_no_spec_is_refused(text):
    with pytest.raises(CheckpointError):
        spec_from_json(text)


def test_a_text_that_is_too_long_is_not_parsed():
    with pytest.raises(CheckpointError, match="is longer than"):
        ModelSpec.from_json(" " * MAX_JSON_BYTES + "{}")
    with pytest.raises(CheckpointError, match="is longer than"):
        spec_from_json(" " * (1 << 20) + "{}")


def test_a_text_says_itself_whether_it_is_of_rans():
    ran = preset("subspace32", height=32, width=32, channels=1)
    model = ModelSpec.from_json(json.dumps(SOUND))
    assert spec_from_json(ran.to_json()) == ran
    assert spec_from_json(model.to_json()) == model
    with pytest.raises(CheckpointError, match="cohort faces: has RANs"):
        of_model(ran, "faces")
    with pytest.raises(CheckpointError, match="cohort triage: serves a model, and no RANs"):
        of_rans(model, "triage")


def test_outputs_in_words():
    for word in ("label", "scores", "rounded:0", "rounded:12"):
        assert outputs_of(word).word == word
    for word in ("", "Label", "rounded", "rounded:", "rounded:13", "rounded:-1", "rounded:²"):
        with pytest.raises(CheckpointError, match="must be label, scores or rounded:BITS"):
            outputs_of(word)

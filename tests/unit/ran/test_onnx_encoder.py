"""A public encoder from an ONNX file, run by the real runtime."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest

from privedge.errors import ConfigError
from privedge.ran import onnx_encoder
from privedge.ran.feature_kinds import Encoder
from privedge.ran.features import extract
from privedge.ran.presets import preset, with_encoder
from privedge.ran.spec import ImageShape

GREY32 = ImageShape(height=32, width=32, channels=1)


def pooling(path: Path, *, batch: int | str = "n", side: int | str = 32) -> Path:
    """Writes an encoder that averages 4 x 4 patches."""
    helper = onnx.helper
    node = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[4, 4], strides=[4, 4])
    real = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [node],
        "pooling",
        [helper.make_tensor_value_info("x", real, [batch, 1, side, side])],
        [helper.make_tensor_value_info("y", real, None)],
    )
    opset = helper.make_opsetid("", 13)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("batch", ["n", 1])
def test_features_are_the_encoders_output_on_scaled_pixels(tmp_path, batch):
    path = pooling(tmp_path / "pool.onnx", batch=batch)
    spec = with_encoder(
        preset("subspace32", height=32, width=32, channels=1, components=8),
        *onnx_encoder.describe(path, GREY32),
    )
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32), dtype=np.uint8)
    features = extract(spec, images, encoder=path)
    expected = (images / 127.5 - 1).reshape(5, 8, 4, 8, 4).mean(axis=(2, 4))
    assert spec.features == Encoder(
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(), output=(1, 8, 8)
    )
    np.testing.assert_allclose(features[:, 0], expected, atol=1e-5)


@pytest.mark.parametrize(("side", "expected"), [(64, 64), ("side", 32)])
def test_the_image_size_is_the_files_own_where_it_fixes_one(tmp_path, side, expected):
    path = pooling(tmp_path / "pool.onnx", side=side)
    _, image = onnx_encoder.describe(path, GREY32)
    assert image == ImageShape(height=expected, width=expected, channels=1)


def test_another_file_than_the_specs_is_refused(tmp_path):
    path = pooling(tmp_path / "pool.onnx")
    with pytest.raises(ConfigError, match="is not the encoder"):
        onnx_encoder.load(path, Encoder(sha256="0" * 64, output=(1, 8, 8)))


def test_an_output_of_another_shape_is_refused(tmp_path):
    path = pooling(tmp_path / "pool.onnx")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    encode = onnx_encoder.load(path, Encoder(sha256=digest, output=(64,)))
    with pytest.raises(ConfigError, match="gives shape"):
        encode(np.zeros((1, 1, 32, 32), np.float32))


@pytest.mark.parametrize("content", [b"", b"not an ONNX file", b"\x80\x04K\x01."])
def test_a_file_that_is_not_onnx_is_refused_by_name(tmp_path, content):
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"bad\.onnx"):
        onnx_encoder.describe(path, GREY32)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.onnx: cannot be read"):
        onnx_encoder.describe(tmp_path / "none.onnx", GREY32)

"""A public encoder from an ONNX file, run by the real runtime."""

import os
import threading
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from privedge.errors import ConfigError, ImageError
from privedge.ran import encoder_facts, onnx_encoder, onnx_file
from privedge.ran.feature_kinds import Encoder, EncoderInput
from privedge.ran.features import extract
from privedge.ran.presets import behind_encoder, preset, with_encoder
from privedge.ran.public_files import PublicFiles
from privedge.ran.spec import ImageShape, RanSpec
from privedge.user import own_images
from privedge.user.settings import settings_for
from tests.onnx_files import REAL, convolutional, digest, identity, saved, tensor

GREY32 = ImageShape(height=32, width=32, channels=1)
COLOUR32 = ImageShape(height=32, width=32, channels=3)


def pooling(path: Path, *, batch: int | str = "n", side: int | str = 32) -> Path:
    """Writes an encoder that averages 4 x 4 patches."""
    node = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[4, 4], strides=[4, 4])
    return saved(path, [node], shape=[batch, 1, side, side])


def spec_of(path: Path, wants: EncoderInput | None = None, *, unit_length: bool = False) -> RanSpec:
    described = onnx_encoder.describe(path, COLOUR32, wants, unit_length=unit_length)
    return behind_encoder("subspace-encoder", *described)


def pictures(count: int, *, seed: int = 0, channels: int = 3) -> np.ndarray:
    shape = (count, 32, 32, channels)[: 4 if channels == 3 else 3]
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("batch", ["n", 1, 2])
def test_features_are_the_encoders_output_on_scaled_pixels(tmp_path, batch):
    path = pooling(tmp_path / "pool.onnx", batch=batch)
    spec = with_encoder(
        preset("subspace32", height=32, width=32, channels=1, components=8),
        *onnx_encoder.describe(path, GREY32),
    )
    images = pictures(5, channels=1)
    features = extract(spec, images, encoder=path)
    expected = (images / 127.5 - 1).reshape(5, 8, 4, 8, 4).mean(axis=(2, 4))
    assert spec.features == Encoder(sha256=digest(path), output=(1, 8, 8))
    np.testing.assert_allclose(features[:, 0], expected, atol=1e-5)


# --- Conventions ----------------------------------------------------------------------------------

NUMBERS = st.floats(-300, 300, width=32)
SCALES = NUMBERS.filter(lambda number: abs(number) > 1e-3)


def by_channel(numbers: st.SearchStrategy[float]) -> st.SearchStrategy[tuple[float, ...]]:
    return st.one_of(st.tuples(numbers), st.tuples(numbers, numbers, numbers))


@pytest.fixture(scope="module")
def identities(tmp_path_factory):
    folder = tmp_path_factory.mktemp("identities")
    return {
        "nchw": identity(folder / "nchw.onnx", shape=["n", 3, 8, 9]),
        "nhwc": identity(folder / "nhwc.onnx", shape=["n", 8, 9, 3]),
    }


@settings(deadline=None)
@given(
    order=st.sampled_from(["rgb", "bgr"]),
    layout=st.sampled_from(["nchw", "nhwc"]),
    scale=by_channel(SCALES),
    offset=by_channel(NUMBERS),
    unit_length=st.booleans(),
    seed=st.integers(0, 99),
)
def test_conventions_are_those_of_numpy(
    identities, order, layout, scale, offset, unit_length, seed
):
    images = np.random.default_rng(seed).integers(0, 256, (3, 8, 9, 3), dtype=np.uint8)
    wants = EncoderInput(order=order, layout=layout, scale=scale, offset=offset)
    ordered = images if order == "rgb" else images[..., ::-1]
    wanted = np.float32(ordered * np.array(scale) + np.array(offset))
    wanted = wanted if layout == "nhwc" else wanted.transpose(0, 3, 1, 2)
    planes = images.transpose(0, 3, 1, 2)
    given_to_it = onnx_encoder.prepared(planes, wants)
    assert np.array_equal(given_to_it, wanted)
    encoder = Encoder(
        sha256=digest(identities[layout]),
        output=wanted.shape[1:],
        input=wants,
        unit_length=unit_length,
    )
    run = onnx_encoder.load(identities[layout], encoder)
    lengths = np.linalg.norm(wanted.reshape(3, -1).astype(np.float64), axis=1)
    if unit_length:
        np.testing.assert_allclose(
            run(planes), wanted / lengths.reshape(3, 1, 1, 1), rtol=1e-6, atol=1e-7
        )
    elif lengths.max() <= 90:
        assert np.array_equal(run(planes), wanted)
    else:
        with pytest.raises(ConfigError, match="unit length"):
            run(planes)


def test_what_nothing_says_is_what_it_was_bit_for_bit():
    planes = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    assert np.array_equal(
        onnx_encoder.prepared(planes, EncoderInput()), np.float32(planes / 127.5 - 1)
    )


@pytest.mark.parametrize("shape", [["n", 32, 32, 3], [1, 32, 32, 3], ["n", 32, 40, 1]])
def test_a_layout_is_seen_in_the_shape(tmp_path, shape):
    path = identity(tmp_path / "last.onnx", shape=shape)
    encoder, image = onnx_encoder.describe(path, COLOUR32)
    assert encoder.input == EncoderInput(layout="nhwc")
    assert (image.height, image.width, image.channels) == tuple(shape[1:])


def test_features_of_unit_length_have_it_and_the_same_direction(tmp_path):
    path = convolutional(tmp_path / "conv.onnx")
    plain, unit = spec_of(path), spec_of(path, unit_length=True)
    images = pictures(4)
    features, scaled = (extract(spec, images, encoder=path) for spec in (plain, unit))
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(np.linalg.norm(scaled, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(scaled * lengths, features, atol=1e-5)


def test_a_picture_without_a_direction_is_refused(tmp_path):
    path = identity(tmp_path / "same.onnx", shape=["n", 3, 32, 32])
    spec = spec_of(path, EncoderInput(scale=(1.0,), offset=(0.0,)), unit_length=True)
    images = pictures(3)
    images[1] = 0
    with pytest.raises(ImageError, match=r"picture 1: .* only zeros"):
        extract(spec, images, encoder=path)


def test_w48_features_too_short_to_compare_are_refused(tmp_path):
    path = identity(tmp_path / "same.onnx", shape=["n", 3, 32, 32])
    tiny = spec_of(path, EncoderInput(scale=(1e-8,), offset=(0.0,)))
    with pytest.raises(ImageError, match=r"picture 0: .* below 1/64 .* spec with unit length"):
        extract(tiny, pictures(2), encoder=path)
    short = spec_of(path, EncoderInput(scale=(1e-5,), offset=(0.0,)))
    assert extract(short, pictures(2), encoder=path).any()
    chosen = settings_for(short, files=PublicFiles.at(encoder=path))
    with pytest.raises(ImageError, match=r"what the encoder gives: .* use a spec with unit length"):
        own_images.prepare(pictures(2), short, chosen)


def test_features_too_long_to_compare_are_refused(tmp_path):
    path = identity(tmp_path / "same.onnx", shape=["n", 3, 32, 32])
    spec = spec_of(path, EncoderInput(scale=(2.0,), offset=(0.0,)))
    with pytest.raises(ConfigError, match="unit length"):
        extract(spec, pictures(1), encoder=path)


# --- Files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "expected"), [(64, 64), ("side", 32)])
def test_the_image_size_is_the_files_own_where_it_fixes_one(tmp_path, side, expected):
    path = pooling(tmp_path / "pool.onnx", side=side)
    _, image = onnx_encoder.describe(path, GREY32)
    assert image == ImageShape(height=expected, width=expected, channels=1)


def test_inputs_that_old_exporters_leave_behind_change_nothing(tmp_path):
    clean = convolutional(tmp_path / "clean.onnx")
    stale = convolutional(tmp_path / "stale.onnx", stale=True)
    images = pictures(3)
    features = [extract(spec_of(path), images, encoder=path) for path in (clean, stale)]
    assert np.array_equal(*features)
    assert onnx_file.session(stale, digest(stale)).taken_out == 5
    assert onnx_file.session(clean, digest(clean)).taken_out == 0


def test_a_pictures_features_do_not_depend_on_the_others(tmp_path):
    path = convolutional(tmp_path / "conv.onnx")
    images = pictures(70)
    together = extract(spec_of(path), images, encoder=path)
    alone = [extract(spec_of(path), image[None], encoder=path)[0] for image in images]
    assert np.array_equal(together, np.stack(alone))


def test_another_file_than_the_specs_is_refused_with_both_digests(tmp_path):
    path = convolutional(tmp_path / "conv.onnx")
    other = convolutional(tmp_path / "other.onnx", seed=1)
    with pytest.raises(ConfigError, match=rf"other\.onnx.*{digest(other)}.*{digest(path)}"):
        extract(spec_of(path), pictures(1), encoder=other)
    with pytest.raises(ConfigError, match=rf"{digest(path)}.*--encoder"):
        extract(spec_of(path), pictures(1))


def test_an_output_of_another_shape_is_refused(tmp_path):
    path = pooling(tmp_path / "pool.onnx")
    encode = onnx_encoder.load(path, Encoder(sha256=digest(path), output=(64,)))
    with pytest.raises(ConfigError, match=r"gives \(1, 8, 8\), and the models' encoder \(64\)"):
        encode(np.zeros((1, 1, 32, 32), np.uint8))


@pytest.mark.parametrize("content", [b"", b"not an ONNX file", b"\x80\x04K\x01."])
def test_a_file_that_is_not_onnx_is_refused_by_name(tmp_path, content):
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"bad\.onnx: [^\n]+$"):
        onnx_encoder.describe(path, GREY32)


def test_the_reason_of_the_runtime_is_shown_in_one_line(tmp_path):
    node = helper.make_node("NoSuchOperator", ["x"], ["y"])
    path = saved(tmp_path / "odd.onnx", [node])
    with pytest.raises(ConfigError, match="NoSuchOperator") as refused:
        onnx_encoder.describe(path, COLOUR32)
    assert "\n" not in str(refused.value)
    assert "RuntimeError" not in str(refused.value)


IDENTITY = helper.make_node("Identity", ["x"], ["y"])
MEAN_OF_ALL = helper.make_node("ReduceMean", ["x"], ["y"], keepdims=0)
TO_FLOAT = helper.make_node("Cast", ["x"], ["y"], to=REAL)


@pytest.mark.parametrize(
    ("node", "fields", "said"),
    [
        (IDENTITY, {"shape": ["n", 3, 32]}, "four axes"),
        (IDENTITY, {"shape": ["n", 4, 32, 32]}, "no picture"),
        (IDENTITY, {"shape": ["n", 3, 4, 32]}, "no picture"),
        (TO_FLOAT, {"kind": onnx.TensorProto.UINT8}, "of type uint8"),
        (MEAN_OF_ALL, {}, "one row for each picture"),
    ],
)
def test_a_graph_that_is_no_encoder_is_refused(tmp_path, node, fields, said):
    path = saved(tmp_path / "none.onnx", [node], **fields)
    with pytest.raises(ConfigError, match=rf"none\.onnx: .*{said}"):
        onnx_encoder.describe(path, COLOUR32)


def test_a_second_input_that_is_read_is_refused(tmp_path):
    node = helper.make_node("Add", ["x", "more"], ["y"])
    more = helper.make_tensor_value_info("more", REAL, [1])
    path = saved(tmp_path / "two.onnx", [node], further_inputs=[more])
    with pytest.raises(ConfigError, match="inputs x, more"):
        onnx_encoder.describe(path, COLOUR32)


def test_weights_in_another_file_are_refused(tmp_path):
    path = convolutional(tmp_path / "conv.onnx")
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    with pytest.raises(ConfigError, match="save it as one file"):
        onnx_encoder.describe(path, COLOUR32)


def test_an_output_that_is_not_finite_is_refused(tmp_path):
    node = helper.make_node("Div", ["x", "zero"], ["y"])
    path = saved(tmp_path / "div.onnx", [node], [tensor("zero", [0.0])])
    with pytest.raises(ConfigError, match="finite float32"):
        onnx_encoder.describe(path, COLOUR32)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.onnx: cannot be read"):
        onnx_encoder.describe(tmp_path / "none.onnx", GREY32)


def test_a_pipe_or_folder_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, what in ((tmp_path / "pipe", "is a pipe"), (tmp_path, "directory|folder")):
        with pytest.raises(ConfigError, match=f"cannot be read .*({what})"):
            onnx_encoder.describe(path, GREY32)


# --- Sessions -------------------------------------------------------------------------------------


@pytest.fixture
def built(monkeypatch):
    """How many sessions onnxruntime has built."""
    count: list[int] = []
    real = onnxruntime.InferenceSession

    def counted(*given, **options):
        count.append(1)
        return real(*given, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", counted)
    return count


def test_a_file_is_loaded_once_for_all_threads_and_copies(tmp_path, built):
    path = convolutional(tmp_path / "conv.onnx", seed=101)
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(path.read_bytes())
    wanted = Encoder(sha256=digest(path), output=(24,))
    images = pictures(4).transpose(0, 3, 1, 2)
    found = {}
    start = threading.Barrier(8)

    def work(number: int) -> None:
        start.wait()
        found[number] = onnx_encoder.load(copy if number % 2 else path, wanted)(images)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert all(np.array_equal(features, found[0]) for features in found.values())
    assert len(found) == 8


def test_a_file_that_has_changed_is_noticed(tmp_path, built):
    path = convolutional(tmp_path / "conv.onnx", seed=102)
    wanted = Encoder(sha256=digest(path), output=(24,))
    onnx_encoder.load(path, wanted)
    before = path.stat()
    changed = bytearray(path.read_bytes())
    changed[-40] ^= 1
    path.write_bytes(changed)
    assert path.stat().st_size == before.st_size
    with pytest.raises(ConfigError, match="is another encoder"):
        onnx_encoder.load(path, wanted)


def test_a_file_that_stays_is_hashed_once(tmp_path, monkeypatch):
    path = convolutional(tmp_path / "conv.onnx", seed=103)
    os.utime(path, (1e9, 1e9))
    wanted = Encoder(sha256=digest(path), output=(24,))
    onnx_encoder.load(path, wanted)
    monkeypatch.setattr(Path, "read_bytes", None)
    onnx_encoder.load(path, wanted)


def test_few_sessions_are_kept(tmp_path, built):
    paths = [convolutional(tmp_path / f"{n}.onnx", seed=200 + n) for n in range(6)]
    for path in (*paths, paths[-1], paths[0]):
        onnx_encoder.load(path, Encoder(sha256=digest(path), output=(24,)))
    assert len(built) == 7


# --- What tells nobody apart ----------------------------------------------------------------------

FLAT = helper.make_node("Flatten", ["x"], ["flat"])
ADDED = helper.make_node("Add", ["flat", "more"], ["y"])
OF_THE_BATCH = [
    FLAT,
    helper.make_node("ReduceMean", ["flat"], ["mean"], axes=[0], keepdims=1),
    helper.make_node("Sub", ["flat", "mean"], ["more"]),
    ADDED,
]
UNFIT = {
    "all zero": ([FLAT, helper.make_node("Mul", ["flat", "zero"], ["y"])], "n", "same features"),
    "noise added": (
        [FLAT, helper.make_node("RandomNormalLike", ["flat"], ["more"], scale=1e-3), ADDED],
        "n",
        "in every run",
    ),
    "noise with a seed": (
        [FLAT, helper.make_node("RandomNormalLike", ["flat"], ["more"], seed=3.0), ADDED],
        "n",
        "in every run",
    ),
    "the mean of a batch": (OF_THE_BATCH, 2, "the others in its batch"),
    "the mean of one": ([*OF_THE_BATCH[:2], helper.make_node("Sub", ["flat", "mean"], ["y"])], "n",
                        "same features"),
}  # fmt: skip


def unfit(folder: Path, name: str) -> tuple[Path, str]:
    nodes, batch, why = UNFIT[name]
    path = saved(folder / "unfit.onnx", nodes, [tensor("zero", [0.0])], shape=[batch, 3, 32, 32])
    return path, why


@pytest.mark.parametrize("name", UNFIT)
def test_an_encoder_that_tells_nobody_apart_is_refused(tmp_path, name):
    path, why = unfit(tmp_path, name)
    with pytest.raises(ConfigError, match=why):
        onnx_encoder.describe(path, COLOUR32)
    # Who has a spec already, and trains or asks, is told as well.
    named = Encoder(sha256=digest(path), output=(3 * 32 * 32,))
    with pytest.raises(ConfigError, match=why):
        extract(behind_encoder("subspace-encoder", named, COLOUR32), pictures(2), encoder=path)


@pytest.mark.parametrize("name", UNFIT)
def test_inspecting_finds_an_encoder_that_tells_nobody_apart(tmp_path, name):
    path, why = unfit(tmp_path, name)
    facts = encoder_facts.inspect(path)
    assert not facts.usable
    assert why in facts.why


def test_inspecting_says_what_a_batch_changes(tmp_path):
    """Where a file takes any number, it is given one at a time, so nothing else matters."""
    together = encoder_facts.inspect(saved(tmp_path / "mean.onnx", OF_THE_BATCH))
    assert (together.usable, together.batch, together.alone) == (True, None, False)
    one = numpy_helper.from_array(np.array([1, -1]), "one")
    nodes = [helper.make_node("Reshape", ["x", "one"], ["y"])]
    single = encoder_facts.inspect(saved(tmp_path / "one.onnx", nodes, [one]))
    assert (single.usable, single.batch, single.alone) == (True, 1, True)
    plain = encoder_facts.inspect(convolutional(tmp_path / "conv.onnx"))
    assert (plain.usable, plain.batch, plain.alone) == (True, None, True)

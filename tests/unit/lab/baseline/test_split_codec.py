"""What crosses between a device and the split server survives the wire, or is refused by field."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from privedge.errors import ShareError
from privedge_lab.baseline import codec as codec
from privedge_lab.baseline.codec import Served
from privedge_lab.wire import split_pb2 as pb

digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
shapes = st.lists(st.integers(1, 64), min_size=1, max_size=4).map(tuple)
serveds = st.builds(
    Served,
    tail=digests,
    cut=st.from_regex(r"[a-z][a-z0-9_]{0,31}", fullmatch=True),
    sent_shape=shapes,
    classes=st.integers(2, 1 << 16),
    max_batch=st.integers(1, 4096),
    answers=st.sampled_from(["labels", "logits"]),
)
floats = st.floats(allow_nan=False, allow_infinity=False, width=32)
SERVED = Served("ab" * 32, "relu2", (2, 3), 4, 8, "labels")


@given(serveds)
def test_what_a_server_runs_survives_the_wire(served):
    raw = codec.served_to_wire(served).SerializeToString()
    assert codec.served_from_wire(pb.DescribeSplitResponse.FromString(raw)) == served


@given(digests, shapes)
def test_a_header_survives_the_wire(tail, shape):
    raw = codec.asked_to_wire(tail, shape).SerializeToString()
    assert codec.asked_from_wire(pb.PredictHeader.FromString(raw)) == (tail, shape)


@given(npst.arrays(np.float32, shapes.filter(lambda shape: np.prod(shape) < 500), elements=floats))
def test_activations_survive_their_bytes(activations):
    raw = codec.activations_to_bytes(activations)
    assert len(raw) == 4 * activations.size
    assert np.array_equal(codec.activations_from_bytes(raw, activations.shape), activations)


def test_activations_are_little_endian_row_major():
    raw = codec.activations_to_bytes(np.array([[1, -2], [0.5, 0]], np.float32))
    assert raw.hex() == "0000803f000000c00000003f00000000"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_activations_that_are_no_numbers_are_refused(value):
    raw = np.array([1, value], "<f4").tobytes()
    with pytest.raises(ShareError, match="not finite"):
        codec.activations_from_bytes(raw, (2,))


@given(st.binary(max_size=64))
def test_any_other_length_is_refused(raw):
    if len(raw) != 24:
        with pytest.raises(ShareError, match="24 bytes"):
            codec.activations_from_bytes(raw, (2, 3))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"tail_sha256": b""}, "digest"),
        ({"tail_sha256": bytes(33)}, "digest"),
        ({"cut": ""}, "cut"),
        ({"cut": "a\nb"}, "cut"),
        ({"cut": "a" * 65}, "cut"),
        ({"sent_shape": []}, "dimensions"),
        ({"sent_shape": [0]}, "positive"),
        ({"sent_shape": [1 << 40]}, "words in all"),
        ({"classes": 1}, "classes"),
        ({"classes": 1 << 17}, "classes"),
        ({"max_batch": 0}, "max_batch"),
        ({"answers": 0}, "neither labels nor logits"),
        ({"answers": 7}, "neither labels nor logits"),
    ],
)
def test_what_no_server_would_say_is_refused_by_field(changes, field):
    message = codec.served_to_wire(SERVED)
    for name in changes:
        message.ClearField(name)
    message.MergeFrom(pb.DescribeSplitResponse(**changes))
    with pytest.raises(ShareError, match=field):
        codec.served_from_wire(message)


@given(npst.arrays(np.float32, (3, 4), elements=floats), st.sampled_from(["labels", "logits"]))
def test_either_kind_of_answer_gives_the_same_labels(logits, answers):
    served = Served("ab" * 32, "relu2", (2, 3), 4, 8, answers)
    shape, raw = codec.answers_to_bytes(logits, answers)
    header = pb.PredictedHeader(shape=shape, kind=codec.kind_to_wire(answers))
    labels = codec.labels_from_answer(header, raw, served, 3)
    assert labels.tolist() == logits.argmax(1).tolist()


@pytest.mark.parametrize(
    ("changes", "values", "message"),
    [
        ({"kind": pb.LOGITS}, [1, 2], "kind"),
        ({"kind": 0}, [1, 2], "neither"),
        ({"shape": [3]}, [1, 2], "shape"),
        ({"shape": [2, 1]}, [1, 2], "shape"),
        ({}, [1], "8 bytes"),
        ({}, [1, 4], "no class|class that does not exist"),
    ],
)
def test_an_answer_that_is_none_is_refused(changes, values, message):
    header = pb.PredictedHeader(**({"kind": pb.LABELS, "shape": [2]} | changes))
    with pytest.raises(ShareError, match=message):
        codec.labels_from_answer(header, np.array(values, "<u4").tobytes(), SERVED, 2)

"""The file of public rivals: what it says is what everybody computes with, or it is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privedge.errors import ConfigError
from privedge.ran import rivals
from privedge.ran.presets import preset
from privedge.ran.rivals import MAX_RIVALS, Rivals

SPEC = preset("subspace32", height=32, width=32, channels=1, components=4)
SHAPE = SPEC.input_shape


def rows(count: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, (count, *SHAPE)).astype(np.float32)


def test_a_file_gives_back_what_was_written(tmp_path):
    given = Rivals.of(rows(20), SHAPE)
    rivals.write(tmp_path / "rivals.npz", given, SPEC)
    found = rivals.read(tmp_path / "rivals.npz", SPEC)
    assert found == given and (found.rows == given.rows).all() and len(found) == 20


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 5), seed=st.integers(0, 99))
def test_bytes_give_back_the_same_rivals_and_every_value_counts(count, seed):
    one = Rivals.of(rows(count, seed=seed), SHAPE)
    assert Rivals.from_bytes(one.to_bytes(), SHAPE) == one
    changed = one.rows.copy()
    changed.reshape(-1)[seed] += np.float32(1e-3)
    assert Rivals.of(changed, SHAPE) != one
    assert Rivals.from_bytes(b"", SHAPE) is None


def test_the_digest_is_the_one_that_the_documents_describe():
    import hashlib
    import json

    one = Rivals.of(rows(2), SHAPE)
    facts = json.dumps([2, *SHAPE], separators=(",", ":")).encode()
    text = b"privedge rivals v1\0" + facts + rows(2).astype("<f4").tobytes()
    assert one.digest == hashlib.sha256(text).hexdigest()


def test_rows_for_other_layers_fit_and_rows_for_another_feature_map_do_not(tmp_path):
    file = tmp_path / "rivals.npz"
    rivals.write(file, Rivals.of(rows(3), SHAPE), SPEC)
    wider = preset("subspace32", height=32, width=32, channels=1, components=9)
    assert len(rivals.read(file, wider)) == 3
    colour = preset("subspace32", height=32, width=32, channels=3, components=4)
    with pytest.raises(ConfigError, match="another feature map"):
        rivals.read(file, colour)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        pytest.param(rows(0), f"1 to {MAX_RIVALS}, not 0", id="none"),
        pytest.param(rows(MAX_RIVALS + 1), f"1 to {MAX_RIVALS}, not 41", id="too many"),
        pytest.param(rows(2).astype(np.float64), "must be float32", id="float64"),
        pytest.param(rows(2)[0], "must be float32 of shape", id="one row"),
        pytest.param(rows(2)[..., :3], "must be float32 of shape", id="another shape"),
        pytest.param(rows(2) * np.nan, "NaN or infinity", id="not a number"),
        pytest.param(rows(2) * 1e5, "reaches the limit", id="out of the ring"),
        pytest.param(rows(2) * 20, "number [12] add up to", id="too long"),
    ],
)
def test_rows_that_cannot_be_computed_with_are_refused(given, said):
    with pytest.raises(ConfigError, match=said):
        Rivals.of(given, SHAPE)


def test_the_longest_rival_leaves_room_for_an_image_as_long():
    size = int(np.prod(SHAPE))
    longest = np.full((1, *SHAPE), np.sqrt(2**13 / size) * 0.999, np.float32)
    words = Rivals.of(longest, SHAPE).words
    assert int(np.square(2 * words).sum()) < 2**47  # |x - c|^2 for x = -c
    with pytest.raises(ConfigError, match="add up to"):
        Rivals.of(longest * np.float32(1.01), SHAPE)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        pytest.param(b"", "not a sound npz", id="empty"),
        pytest.param(b"PK\x03\x04 and no more", "not a sound npz", id="cut off"),
        pytest.param(b"no npz at all", "not a sound npz", id="text"),
    ],
)
def test_a_file_that_is_none_is_refused_in_one_line(tmp_path, raw, said):
    file = tmp_path / "rivals.npz"
    file.write_bytes(raw)
    with pytest.raises(ConfigError, match=said) as refused:
        rivals.read(file, SPEC)
    assert "\n" not in str(refused.value)


def test_an_npz_without_the_arrays_or_with_pickles_is_refused(tmp_path):
    file = tmp_path / "rivals.npz"
    np.savez(file, images=rows(1))
    with pytest.raises(ConfigError, match="has no array map, rivals"):
        rivals.read(file, SPEC)
    np.savez(file, rivals=np.array([{}], dtype=object), map=np.array(rivals.map_digest(SPEC)))
    with pytest.raises(ConfigError, match="without pickles"):
        rivals.read(file, SPEC)
    with pytest.raises(ConfigError, match="no such file"):
        rivals.read(tmp_path / "other.npz", SPEC)

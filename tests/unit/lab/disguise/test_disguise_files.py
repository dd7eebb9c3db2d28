"""Keys and disguised sets on disk."""

import json

import numpy as np
import pytest
import torch

from privedge.errors import CertificateError, ImageError
from privedge_lab.datasets import Labelled
from privedge_lab.disguise import files, keys
from privedge_lab.disguise.disguise import Disguise
from privedge_lab.disguise.settings import Aes, Permutation, Rmt, Sized

SIZED = Sized(settings=Rmt(noise=0.1), image=(3, 9, 10))


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "set.key"
    keys.save(keys.generate(SIZED), path)
    return path


@pytest.mark.parametrize("settings", [Rmt(block=7, matrix="projection"), Permutation(), Aes()])
def test_a_key_survives_its_file(tmp_path, settings):
    key = keys.generate(Sized(settings=settings, image=(1, 28, 28)))
    keys.save(key, tmp_path / "a.key")
    assert keys.load(tmp_path / "a.key") == key


def test_a_key_file_is_small_and_its_owners_alone(key_file):
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert key_file.stat().st_size < 1000


def test_a_key_that_others_can_read_is_refused(key_file):
    key_file.chmod(0o640)
    with pytest.raises(CertificateError, match="chmod 600"):
        keys.load(key_file)


def test_a_key_is_never_replaced(key_file):
    before = key_file.read_bytes()
    with pytest.raises(CertificateError, match="never replaced"):
        keys.save(keys.generate(SIZED), key_file)
    assert key_file.read_bytes() == before


def test_two_keys_differ_and_neither_shows_its_secret():
    one, two = keys.generate(SIZED), keys.generate(SIZED)
    assert one.secret != two.secret and len(one.secret) == 32
    assert one.identity != two.identity and one.identity not in one.secret.hex()
    assert one.secret.hex() not in repr(one) and str(one.secret) not in repr(one)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"secret": "ab" * 31},
        {"secret": "AB" * 32},
        {"sized": {"settings": {"kind": "rot13"}, "image": [1, 28, 28]}},
        {"sized": {"settings": {"kind": "rmt", "block": 1}, "image": [1, 28, 28]}},
        {"sized": {"settings": {"kind": "rmt"}, "image": [2, 28, 28]}},
        {"more": 1},
    ],
)
def test_a_damaged_key_is_refused_in_one_line_without_its_content(key_file, change):
    stored = json.loads(key_file.read_text()) | change
    key_file.write_text(json.dumps(stored))
    with pytest.raises(CertificateError, match=r"^[^\n]*is not a key of privedge[^\n]*$") as error:
        keys.load(key_file)
    assert str(stored["secret"]) not in str(error.value)


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xfe", b"[]"])
def test_what_is_no_json_is_no_key(key_file, raw):
    key_file.write_bytes(raw)
    with pytest.raises(CertificateError, match="is not a key"):
        keys.load(key_file)


def test_a_missing_key_is_named(tmp_path):
    with pytest.raises(CertificateError, match="gone"):
        keys.load(tmp_path / "gone")


def disguised(count=4):
    images = torch.rand((count, 3, 9, 10), generator=torch.Generator().manual_seed(1))
    data = Labelled(
        Disguise(keys.generate(SIZED)).apply(images),
        torch.arange(count) % 2,
        {"document": torch.arange(count)},
    )
    return files.DisguisedSet(data, SIZED, "0123456789abcdef")


def test_a_disguised_set_survives_its_file_to_the_last_bit(tmp_path):
    made = disguised()
    files.write(made, tmp_path / "d.npz")
    back = files.read(tmp_path / "d.npz")
    assert torch.equal(back.data.images, made.data.images) and back.sized == SIZED
    assert back.key_identity == made.key_identity
    assert torch.equal(back.data.labels, made.data.labels)
    assert torch.equal(back.data.facts["document"], made.data.facts["document"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"disguised": np.zeros((4, 3, 12, 12), np.uint8)}, "float32"),
        ({"disguised": np.zeros((4, 3, 9, 10), np.float32)}, r"\(n, 3, 12, 12\)"),
        ({"disguised": np.full((4, 3, 12, 12), np.nan, np.float32)}, "finite"),
        ({"labels": np.zeros(3, np.int64)}, "4 integers"),
        ({"labels": np.full(4, -1)}, "4 integers"),
        ({"settings": np.array("{}")}, "settings"),
    ],
)
def test_an_unsound_disguised_set_is_refused(tmp_path, change, message):
    path = tmp_path / "d.npz"
    files.write(disguised(), path)
    with np.load(path) as arrays:
        np.savez(path, **(dict(arrays) | change))
    with pytest.raises(ImageError, match=message):
        files.read(path)


def test_a_plain_set_is_not_taken_for_a_disguised_one(tmp_path):
    np.savez(tmp_path / "p.npz", images=np.zeros((2, 8, 8), np.uint8), labels=np.zeros(2, int))
    with pytest.raises(ImageError, match="no array called disguised"):
        files.read(tmp_path / "p.npz")
    (tmp_path / "p.npz").write_bytes(b"PK nonsense")
    with pytest.raises(ImageError, match="not a sound npz"):
        files.read(tmp_path / "p.npz")
    with pytest.raises(ImageError, match="no such file"):
        files.read(tmp_path / "q.npz")

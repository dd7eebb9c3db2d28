"""docs/reference/wire.md promises test vectors to clients in other languages: ours must agree."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from privedge.errors import RangeError
from privedge.sharing.combine import combine
from privedge.sharing.fixed_point import decode, encode
from privedge.sharing.manifest import commitment
from privedge.sharing.ring import Words, from_bytes, to_bytes

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "wire.md").read_text()
BLOCK = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)
assert BLOCK is not None
VECTORS = json.loads(BLOCK[1])


def words(*hexadecimal: str) -> Words:
    return np.array([int(digits, 16) for digits in hexadecimal], dtype=np.uint64)


@pytest.mark.parametrize("vector", VECTORS["encode"], ids=lambda vector: str(vector["value"]))
def test_a_real_number_is_encoded_as_the_page_says(vector):
    assert np.array_equal(encode([vector["value"]]), words(vector["word"]))


@pytest.mark.parametrize("value", VECTORS["refuse"])
def test_what_the_page_refuses_is_refused(value):
    with pytest.raises(RangeError):
        encode([float(value)])


def test_words_become_the_bytes_of_the_page_and_back():
    vector = VECTORS["to_bytes"]
    array, raw = words(*vector["words"]), bytes.fromhex(vector["bytes"])
    assert to_bytes(array) == raw
    assert np.array_equal(from_bytes(raw, array.shape), array)


def test_a_share_is_committed_to_as_the_page_says():
    vector = VECTORS["commitment"]
    committed = commitment(bytes.fromhex(vector["salt"]), vector["name"])
    committed.update(bytes.fromhex(vector["bytes"]))
    assert committed.hexdigest() == vector["commitment"]


@pytest.mark.parametrize("vector", VECTORS["combine"], ids=lambda vector: str(vector["value"]))
def test_two_shares_of_the_page_open_to_its_value(vector):
    opened = combine(words(vector["mask"]), words(vector["other"]))
    assert decode(opened).tolist() == [vector["value"]]

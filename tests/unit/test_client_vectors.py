"""tests/golden/client.json is what the code computes, and what docs/reference/wire.md says.

Below the first part the vectors are read in plain Python integers and by protobuf alone: no code of
the client is used, so the file cannot follow a mistake of it without a test noticing.
"""

import hashlib
import json
import struct

import pytest

from privedge.wire import party_pb2 as pb
from tools import client_vectors

STORED = json.loads(client_vectors.FILE.read_text())
RING = 1 << 64
PREDICTIONS = pytest.mark.parametrize(
    "vector", STORED["predictions"], ids=lambda each: json.loads(each["spec"])["outputs"]["kind"]
)
QUERIES = pytest.mark.parametrize("vector", STORED["queries"], ids=lambda each: each["name"])


@pytest.mark.parametrize("name", client_vectors.VECTORS)
def test_the_code_computes_what_the_file_says(name):
    assert json.loads(json.dumps(client_vectors.VECTORS[name]())) == STORED[name]


def test_the_file_has_the_vectors_that_the_tool_makes_and_no_others():
    assert list(STORED) == list(client_vectors.VECTORS)
    assert client_vectors.FILE.read_text() == client_vectors.vectors.text(STORED)


# --- Read by the page -----------------------------------------------------------------------------


def words(raw: str, bits: int = 64) -> list[int]:
    each, data = -(-bits // 8), bytes.fromhex(raw)
    return [int.from_bytes(data[at : at + each], "little") for at in range(0, len(data), each)]


def low(found: list[int], bits: int) -> list[int]:
    return [word % (1 << bits) for word in found]


def added(first: str, second: str, bits: int = 64) -> list[int]:
    pairs = zip(words(first, bits), words(second, bits), strict=True)
    return low([one + other for one, other in pairs], bits)


def mask(seed: str, count: int, bits: int = 64) -> list[int]:
    """So many words, of which the low bits are sent."""
    return low(words(hashlib.shake_128(seed.encode()).hexdigest(8 * count)), bits)


def encoded(value: float) -> int:
    in_single_precision = struct.unpack("<f", struct.pack("<f", value))[0]
    return round(in_single_precision * (1 << 16)) % RING


@pytest.mark.parametrize("vector", STORED["pictures"])
def test_a_picture_is_scaled_to_minus_one_to_one_and_encoded(vector):
    pixels, wanted = bytes.fromhex(vector["pixels"]), json.loads(vector["spec"])["image"]
    planes = [pixels[at :: vector["channels"]] for at in range(vector["channels"])]
    if wanted["channels"] == 1 and len(planes) == 3:  # the luma that Pillow computes
        weighed = zip(*planes, strict=True)
        planes = [[(r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16 for r, g, b in weighed]]
    planes = planes * (wanted["channels"] // len(planes))
    expected = [encoded(pixel / 127.5 - 1) for plane in planes for pixel in plane]
    assert words(vector["words"]) == expected


@QUERIES
def test_the_shares_of_a_query_are_its_mask_and_what_is_left(vector):
    bits, asked = vector["word_bits"], words(vector["words"])
    assert added(*vector["shares"], bits) == low(asked, bits)
    assert words(vector["shares"][0], bits) == mask(vector["seed"], len(asked), bits)


@QUERIES
def test_both_parties_get_the_same_header_and_their_own_share(vector):
    headers = []
    for requests, share in zip(vector["requests"], vector["shares"], strict=True):
        first, *rest = [pb.QueryRequest.FromString(bytes.fromhex(each)) for each in requests]
        assert first.WhichOneof("part") == "header"
        assert b"".join(each.words for each in rest).hex() == share
        headers.append(first.header)
    assert headers[0] == headers[1]
    assert headers[0].query_id.hex() == vector["query_id"]
    owner = vector["verify_owner"]
    assert headers[0].WhichOneof("question") == ("verify" if owner else "identify")
    assert headers[0].verify.owner == (owner or "")


@QUERIES
def test_the_answer_shares_add_up_to_a_one_hot_row_for_each_answer(vector):
    received = []
    for responses in vector["responses"]:
        first, *rest = [pb.QueryResponse.FromString(bytes.fromhex(each)) for each in responses]
        received.append(b"".join(each.words for each in rest).hex())
        rows, columns = first.header.shape
    flat = added(*received)
    opened = [flat[row * columns : (row + 1) * columns] for row in range(rows)]
    assert opened == vector["opened"]
    named = [*vector["owners"], *[None] * vector["public_owners"]]
    names = [vector["verify_owner"]] if vector["verify_owner"] else named
    assert [names[row.index(1)] if any(row) else None for row in opened] == vector["answers"]
    assert all(sorted(row)[:-1] == [0] * (columns - 1) and max(row) <= 1 for row in opened)


def test_the_queries_show_every_kind_of_answer():
    answers = {(bool(each["verify_owner"]), *each["answers"]) for each in STORED["queries"]}
    assert {(False, "ana"), (False, None), (True, "ana"), (True, None)} <= answers


def test_no_refused_sum_is_a_one_hot_row():
    for row in STORED["refused_answers"]:
        assert sum(row) > 1


@PREDICTIONS
def test_a_prediction_is_asked_as_any_other_query(vector):
    bits, asked = vector["word_bits"], words(vector["words"])
    given = [struct.unpack("<20f", bytes.fromhex(row)) for row in vector["inputs"]]
    assert asked == [encoded(value) for row in given for value in row]
    assert added(*vector["shares"], bits) == low(asked, bits)
    assert words(vector["shares"][0], bits) == mask(vector["seed"], len(asked), bits)
    for requests, share in zip(vector["requests"], vector["shares"], strict=True):
        first, *rest = [pb.QueryRequest.FromString(bytes.fromhex(each)) for each in requests]
        assert (first.header.WhichOneof("question"), first.header.one_subject) == (
            "identify",
            False,
        )
        assert list(first.header.shape) == [2, *json.loads(vector["spec"])["input"]]
        assert b"".join(each.words for each in rest).hex() == share


@PREDICTIONS
def test_an_answer_of_a_served_model_is_a_label_or_scores(vector):
    received = []
    for responses in vector["responses"]:
        first, *rest = [pb.QueryResponse.FromString(bytes.fromhex(each)) for each in responses]
        assert list(first.header.shape) == [2, 3]
        received.append(b"".join(each.words for each in rest).hex())
    flat = added(*received)
    assert flat == words(vector["opened"])
    outputs, rows = json.loads(vector["spec"])["outputs"], [flat[:3], flat[3:]]
    labels = json.loads(vector["spec"])["labels"]
    for row, answer in zip(rows, vector["answers"], strict=True):
        if outputs["kind"] == "label":
            assert sorted(row) == [0, 0, 1] and row[answer["label"]] == 1
            assert answer["scores"] is None
        else:
            scale = 1 << outputs.get("bits", 16)
            scores = [(word - RING if word >> 63 else word) / scale for word in row]
            assert scores == answer["scores"]
            assert scores[answer["label"]] == max(scores)
        assert answer["name"] == labels[answer["label"]]
    assert len({answer["name"] for answer in vector["answers"]}) == 2


@pytest.mark.parametrize("party", [0, 1])
def test_an_upload_commits_to_the_share_of_every_tensor(party):
    vector = STORED["upload"]
    header = pb.UploadModelRequest.FromString(bytes.fromhex(vector["headers"][party])).header
    salt, rest = bytes.fromhex(vector["salts"][party]), bytes.fromhex(vector["shares"][party])
    assert header.salt == salt
    for tensor in header.manifest.tensors:
        count, bits = len(words(vector["words"][tensor.name])), tensor.word_bits or 64
        share, rest = rest[: count * -(-bits // 8)], rest[count * -(-bits // 8) :]
        expected = hashlib.sha256(salt + tensor.name.encode() + b"\0" + share).digest()
        assert tensor.commitments[party] == expected
        if party == 0:
            assert words(share.hex(), bits) == mask(vector["seeds"][tensor.name], count, bits)
    assert rest == b""


def test_the_shares_of_an_upload_add_up_to_its_words():
    vector, place = STORED["upload"], 0
    for name, wanted in vector["words"].items():
        bits = 64 if name == "threshold" else vector["word_bits"]
        part = slice(place, place + len(wanted) // 16 * -(-bits // 8) * 2)
        shares = [share[part] for share in vector["shares"]]
        assert added(*shares, bits) == low(words(wanted), bits)
        place = part.stop
    assert {len(share) for share in vector["shares"]} == {place}
    assert hashlib.sha256(vector["spec"].encode()).hexdigest() == vector["spec_digest"]
    assert hashlib.sha256(vector["manifest"].encode()).hexdigest() == vector["manifest_digest"]

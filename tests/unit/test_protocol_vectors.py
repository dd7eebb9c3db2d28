"""tests/golden/protocol.json is what the code computes, and what docs/protocol.md says.

The second half reads the vectors in plain Python integers, by the formulas of the page: none of it
uses privedge. So the file cannot follow a mistake of the code without a test noticing.
"""

import hashlib
import json

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tools import vectors

STORED = json.loads(vectors.FILE.read_text())
RING = 1 << 64


def test_the_file_has_the_vectors_that_the_tool_makes_and_no_others():
    assert list(STORED) == list(vectors.VECTORS)


@pytest.mark.parametrize("name", vectors.VECTORS)
def test_the_code_computes_what_the_file_says(name):
    assert json.loads(json.dumps(vectors.VECTORS[name]())) == STORED[name]


def test_the_file_is_written_as_the_tool_writes_it(tmp_path):
    assert vectors.main([], tmp_path / "again.json") == 0
    assert (tmp_path / "again.json").read_bytes() == vectors.FILE.read_bytes()


def test_checking_names_a_vector_that_differs(tmp_path, capsys):
    file = tmp_path / "protocol.json"
    altered = json.loads(vectors.FILE.read_text())
    altered["relu"][0]["result"][0][0] += 1
    file.write_text(json.dumps(altered))
    assert vectors.main(["--check"], file) == 1
    assert "relu is not what the code computes" in capsys.readouterr().err
    assert vectors.main(["--check"]) == 0


# --- Read by the page -----------------------------------------------------------------------------


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


def signed(word: int) -> int:
    return word - RING if word >> 63 else word


def added(pair: list[str]) -> list[int]:
    return [(a + b) % RING for a, b in zip(*map(words, pair), strict=True)]


def xored(pair: list[str]) -> list[int]:
    return [a ^ b for a, b in zip(*map(words, pair), strict=True)]


def side_by_side(half: str, count: int, size: int) -> list[int]:
    """Words of `size` bytes, with zeros after the last one."""
    raw = b"".join(word.to_bytes(8, "little") for word in words(half))
    assert not any(raw[size * count :]) and len(raw) < size * count + 8
    return [int.from_bytes(raw[size * i : size * (i + 1)], "little") for i in range(count)]


def part(run: dict, which: str, number: int) -> list[str]:
    """Both parties' shares of one part of the first tuple that a run drew."""
    return [drawn[0][which][number] for drawn in run["drawn"]]


def rounds(run: dict) -> list[list[str]]:
    """What the parties sent, by round."""
    return [list(pair) for pair in zip(*run["sent"], strict=True)]


@pytest.mark.parametrize("vector", STORED["keys"], ids=lambda each: each["purpose"])
def test_a_stream_is_aes_in_counter_mode_under_a_key_from_hkdf(vector):
    fields = ("privedge mask v1", vector["purpose"], vector["session"], "0", str(vector["counter"]))
    info = b"\0".join(field.encode() for field in fields)
    key = HKDF(SHA256(), length=16, salt=None, info=info).derive(bytes.fromhex(vector["seed"]))
    stream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor().update(bytes(32))
    expected = words(vector["words"])
    assert [int.from_bytes(stream[at : at + 8], "little") for at in range(0, 32, 8)] == expected


@pytest.mark.parametrize("vector", STORED["fixed_product"], ids=lambda each: each["purpose"])
def test_a_fixed_product_opens_what_hides_and_ends_in_shares_of_the_product(vector):
    prepared, given = added(vector["prepared"]), added(vector["x"])
    masks, b = added(vector["A"]), added(vector["B"])
    opened = zip(prepared, masks, words(vector["E"]), strict=True)
    assert all((weight - mask) % RING == seen for weight, mask, seen in opened)
    opened = zip(given, b, words(vector["D"]), strict=True)
    assert all((value - mask) % RING == seen for value, mask, seen in opened)
    # W = x = 1, 2, 3, ... and both owners, or maps, have a row of W.
    expected = {
        "dense": [1 + 4 + 9, 4 + 10 + 18, 7 + 16 + 27, 10 + 22 + 36],
        "dense_back": [1 + 8, 2 + 10, 3 + 12, 21 + 40, 24 + 44, 27 + 48],
    }
    shape = vector["purpose"].split()[1]
    if shape in expected:
        assert added(vector["z"]) == expected[shape]
    else:
        assert added(vector["z"]) == convolved(added(vector["W"]), given)


def convolved(weight: list[int], image: list[int]) -> list[int]:
    """Two maps of 2 x 2 taps over an image of 2 x 2, enlarged twice; three rows and columns."""

    def pixel(row: int, column: int) -> int:
        return image[row // 2 * 2 + column // 2]

    return [
        sum(weight[4 * at + 2 * i + j] * pixel(row + i, column + j) for i in (0, 1) for j in (0, 1))
        for at in (0, 1)
        for row in range(3)
        for column in range(3)
    ]


def subsets(masks: list[int]) -> list[int]:
    """The products of all sets of masks; set s, bit i of which is mask i, at place s."""
    every = [RING - 1]
    for mask in masks:
        every += [each & mask for each in every]
    return every


@pytest.mark.parametrize("level", STORED["tree"]["levels"], ids=lambda each: str(each["fan"]))
def test_products_of_masks_are_in_the_order_of_the_page(level):
    fan, groups = level["fan"], level["groups"]
    factors = fan - 1 if level["last"] else fan
    rows = words(level["masks"])
    masks = [rows[at : at + groups] for at in range(0, len(rows), groups)]
    expected: list[list[int]] = [[] for _ in range(groups)]
    for group in range(groups):
        eq, lt = ([each[group] for each in some] for some in (masks[:factors], masks[factors:]))
        every = subsets(eq)
        expected[group] += [each for at, each in enumerate(every) if at.bit_count() > 1]
        for j in reversed(range(fan - 1)):
            expected[group] += [each & lt[j] for each in every[1 : 2 << j]]
    assert words(level["products"]) == [word for row in zip(*expected, strict=True) for word in row]


def test_a_table_tells_less_than_at_every_nibble():
    vector = STORED["tree"]["less"]
    rows, lt, eq = (words(vector[name]) for name in ("table", "lt", "eq"))
    for element, (c, r) in enumerate(zip(vector["c"], vector["r"], strict=True)):
        for i in range(4):
            for group in range(3):
                at = 3 * i + group
                # The most significant group of four nibbles first, in it the first nibble.
                shift = 4 * (4 * (2 - group) + 3 - i)
                mine, theirs = c >> shift & 15, r >> shift & 15
                column = [rows[12 * v + at] >> element & 1 for v in range(15)]
                assert column == [v < theirs for v in range(15)]
                assert lt[at] >> element & 1 == (mine < theirs)
                assert eq[at] >> element & 1 == (mine == theirs)
        assert vector["c_is_less"][element] == (c < r)


def bit(word: int, place: int) -> int:
    return word >> place & 1


def test_a_comparison_opens_c_the_tree_and_one_bit_under_their_masks():
    run, compared = STORED["comparison"][0], 16
    r, masks = added(part(run, "free", 0)), xored(part(run, "free", 1))
    rho = added(part(run, "derived", 1))
    first, (tree, last) = rounds(run)[0], map(xored, rounds(run)[1:])
    # Seventeen bits are opened, in three bytes.
    halves = [side_by_side(half, len(r), 3) for half in first]
    c = [sum(pair) % (1 << 17) for pair in zip(*halves, strict=True)]
    assert len(rounds(run)) == 3
    for i, x in enumerate(run["secrets"][0]):
        assert c[i] == (x + r[i]) % (1 << 17)
        u = int(c[i] % (1 << compared) < r[i] % (1 << compared))
        # t is the first row; rho = t ^ r[16].
        assert rho[i] == bit(masks[0], i) ^ bit(r[i], compared)
        assert bit(last[0], i) == u ^ bit(masks[0], i)
        flipped = bit(last[0], i) ^ bit(c[i], compared)
        assert flipped ^ rho[i] == (x < 0) == run["result"][i]
        # One level of four nibbles: eq_0, eq_1, eq_2, lt_1, lt_2, lt_3 under the other six rows.
        pairs = [(c[i] >> 4 * k & 15, r[i] >> 4 * k & 15) for k in (3, 2, 1, 0)]
        inputs = [a == b for a, b in pairs[:3]] + [a < b for a, b in pairs[1:]]
        assert [bit(tree[at] ^ masks[at + 1], i) for at in range(6)] == inputs
    assert run["result"] == [signed(word) for word in added(run["result_shares"])]


def test_a_pair_opens_differences_and_chooses_by_rho_and_its_products():
    run, compared = STORED["pairs"], 39
    masks, (t, *_) = added(part(run, "free", 0)), xored(part(run, "free", 1))
    numbers = added(part(run, "derived", 1))
    first, second = (list(zip(rows[::2], rows[1::2], strict=True)) for rows in run["secrets"])
    count = len(first)
    r, w = masks[:count], masks[count:]
    rho, rho_r, rho_w = (numbers[at : at + count] for at in range(0, 3 * count, count))
    opened, last = added(rounds(run)[0]), xored(rounds(run)[3])
    assert len(rounds(run)) == 4
    for i, (a, b) in enumerate(zip(first, second, strict=True)):
        assert opened[i] == (b[0] - a[0] + r[i]) % RING
        assert opened[count + i] == (b[1] - a[1] + w[i]) % RING
        assert rho[i] == bit(t, i) ^ bit(r[i], compared)
        assert (rho_r[i], rho_w[i]) == (rho[i] * r[i], rho[i] * w[i])
        later = bit(last[0], i) ^ bit(opened[i], compared) ^ rho[i]
        assert later == (b[0] < a[0])
        assert run["result"][i] == [*(b if later else a), max(a[0], b[0]), later]


@pytest.mark.parametrize("exact", [False, True])
def test_a_relu_is_chosen_by_one_opened_bit(exact):
    run, offset, f = STORED["relu"][exact], 1 << 48, 16
    r, masks = added(part(run, "free", 0)), xored(part(run, "free", 1))
    numbers = added(part(run, "derived", 1))
    count = len(run["secrets"][0])
    rho, s, w, rho_s, rho_w, *low = (
        numbers[at : at + count] for at in range(0, len(numbers), count)
    )
    c, last = added(rounds(run)[0]), xored(rounds(run)[3])
    for i, x in enumerate(run["secrets"][0]):
        assert c[i] == (x + offset + r[i]) % RING
        assert s[i] == (-(signed(r[i]) >> f) - (offset >> f)) % RING
        assert w[i] == (0 if r[i] >> 63 else 1 << 64 - f)
        assert (rho_s[i], rho_w[i]) == (rho[i] * s[i], rho[i] * w[i])
        quotient = ((signed(c[i]) >> f) + s[i] + (c[i] >> 63) * w[i]) % RING
        borrow = int(c[i] % (1 << f) < r[i] % (1 << f))
        assert signed(quotient) == (x >> f) + borrow
        if exact:
            assert low[0][i] == bit(masks[-1], i) and low[1][i] == rho[i] * low[0][i]
            quotient = (quotient - borrow) % RING
        positive = bit(last[0], i) ^ bit(c[i], 48) ^ rho[i]
        assert positive == (x >= 0)
        assert run["result"][0][i] == signed(quotient) * positive
        assert run["result"][1][i] == signed(quotient)
    results = [signed(word) for word in added(run["result_shares"])]
    assert run["result"] == [results[:count], results[count:]]


def test_a_truncation_is_the_floor():
    run = STORED["truncation"]
    assert run["result"] == [x >> 16 for x in run["secrets"][0]]
    assert len(rounds(run)) == 3


def test_a_truncated_square_is_that_of_the_floor_or_of_one_unit_more():
    run = STORED["truncated_square"]
    r, c = added(part(run, "free", 0)), added(rounds(run)[0])
    for i, x in enumerate(run["secrets"][0]):
        assert c[i] == (x + (1 << 62) + r[i]) % RING
        borrow = int(c[i] % (1 << 16) < r[i] % (1 << 16))
        assert run["result"][i] == ((x >> 16) + borrow) ** 2
    assert len(rounds(run)) == 1


def test_a_widened_word_is_the_word_modulo_its_bits_and_bounded():
    run = STORED["widened"]
    r, (opened,) = added(part(run, "free", 0)), rounds(run)
    packed = [side_by_side(half, len(r), 3) for half in opened]
    for i, x in enumerate(run["secrets"][0]):
        c = (packed[0][i] + packed[1][i]) % (1 << 24)
        assert c == (x + (1 << 22) + r[i]) % (1 << 24)
        wide = c - r[i] % (1 << 24) - (1 << 22) + (1 - (c >> 23)) * (r[i] >> 23 & 1) * (1 << 24)
        assert run["result"][i] == wide
        assert (wide - x) % (1 << 24) == 0 and abs(wide) < 3 << 22
        assert wide == x or abs(x) >= 1 << 22


def test_a_choice_is_the_one_hot_of_the_index_and_its_products():
    run = STORED["choice"]
    indices, values = run["secrets"]
    r, w = added(part(run, "free", 0)), added(part(run, "free", 1))
    (opened,) = map(added, rounds(run))
    count = len(indices)
    expected = [(x * (1 << 62) + mask) % RING for x, mask in zip(indices, r, strict=True)]
    assert opened[:count] == expected
    masked = zip(opened[count:], values, w, strict=True)
    assert all(seen == (value + mask) % RING for seen, value, mask in masked)
    assert run["result"] == [
        [[hot, hot * values[2 * i], hot * values[2 * i + 1]] for i, hot in enumerate(row)]
        for row in ([int(x == k) for x in indices] for k in (0, 1))
    ]


@pytest.mark.parametrize("name", ["truncation", "choice"])
def test_every_exchange_carries_a_digest_of_all_that_came_before(name):
    run = STORED[name]
    transcript = hashlib.sha256(bytes.fromhex(STORED["keys"][0]["session"]) + bytes(8))
    tags = AESGCM(transcript.digest()[:16])
    # One tuple, drawn before the first exchange.
    transcript.update(run["tuples"][0].encode() + b"\0")
    for sent, digest in zip(rounds(run), run["digests"], strict=True):
        assert transcript.digest()[:16].hex() == digest
        payloads = [b"".join(word.to_bytes(8, "little") for word in words(half)) for half in sent]
        transcript.update((len(payloads[0]) + 16).to_bytes(8, "little"))
        for payload in payloads:
            transcript.update(tags.encrypt(bytes(12), b"", payload + bytes.fromhex(digest)))


def test_digests_of_ids_are_taken_over_sorted_json_without_spaces():
    def over(facts: object) -> str:
        text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    snapshot = STORED["snapshot_id"]
    assert hashlib.sha256(snapshot["spec"].encode()).hexdigest() == snapshot["spec_digest"]
    facts = {name: snapshot[name] for name in ("models", "rule")}
    assert over(facts | {"spec": snapshot["spec_digest"]}) == snapshot["id"]
    for question in STORED["query_digest"]:
        public = {name: value for name, value in question.items() if name != "digest"}
        assert over(public) == question["digest"]
    manifest = STORED["manifest"]
    assert over(json.loads(manifest["text"])) == manifest["digest"]
    for salt, share, committed in zip(
        manifest["salts"], manifest["share_bytes"], manifest["commitments"], strict=True
    ):
        hashed = bytes.fromhex(salt) + b"threshold\0" + bytes.fromhex(share)
        assert hashlib.sha256(hashed).hexdigest() == committed

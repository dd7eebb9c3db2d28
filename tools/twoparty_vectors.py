"""Write tests/golden/twoparty.json: what the steps of two-party randomness give, for fixed draws.

    python tools/twoparty_vectors.py > tests/golden/twoparty.json

An implementation of its own, of plain integers, from the texts of parties/mpc/twoparty and the
papers that they name: it imports nothing of the project. Large results stand as their SHA-256.
"""

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from itertools import product

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

_PAIRING = b"known answers"
_DEGREE, _Q = 8192, 1 << 216
_FIELD = 1 << 128
# x^128 = x^7 + x^2 + x + 1, in the order of bits that GHASH has.
_REDUCED = 0xE1 << 120


def _sha(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def _aes(key: bytes, block: bytes) -> bytes:
    cipher = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 - one block
    return cipher.update(block)


def _stream(key: bytes) -> Iterator[int]:
    """The bytes of AES-CTR from zero."""
    counter = 0
    while True:
        yield from _aes(key, counter.to_bytes(16, "big"))
        counter += 1


def _words(stream: Iterator[int], count: int) -> list[int]:
    return [int.from_bytes(bytes(next(stream) for _ in range(8)), "little") for _ in range(count)]


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def _all(parts: Sequence[bytes]) -> bytes:
    total = bytes(len(parts[0]))
    for part in parts:
        total = _xor(total, part)
    return total


def _tree(root: bytes, keys: Sequence[tuple[bytes, bytes]]) -> tuple[bytes, list[bytes]]:
    nodes, sent = [root], b""
    for pair in keys:
        wide = [_sha(b"privedge tree node v1", node) for node in nodes]
        nodes = [part for each in wide for part in (each[:16], each[16:])]
        for side in (0, 1):
            sent += _xor(_all(nodes[side::2]), pair[side])
    checks = [_sha(b"privedge tree check v1", node) for node in nodes]
    sent += _all(checks) + _sha(b"privedge tree checks v1", *checks)
    return sent, [_sha(b"privedge tree seed v1", node)[:16] for node in nodes]


def _times(x: int, y: int) -> int:
    """A product in the field of GHASH."""
    total = 0
    for bit in range(127, -1, -1):
        if x >> bit & 1:
            total ^= y
        y = y >> 1 ^ (_REDUCED if y & 1 else 0)
    return total


def _ghash(key: bytes, data: bytes) -> bytes:
    """The part that is linear in the data; the block of lengths is a factor more."""
    point, total = int.from_bytes(_aes(key, bytes(16)), "big"), 0
    for at in range(0, len(data), 16):
        block = int.from_bytes(data[at : at + 16].ljust(16, b"\0"), "big")
        total = _times(total ^ block, point)
    return _times(total, point).to_bytes(16, "big")


def _bytes_of(words: Sequence[int]) -> bytes:
    return b"".join(word.to_bytes(8, "little") for word in words)


def _hash(key: int, number: int, block: int) -> int:
    """pi(pi(x) ^ t) ^ pi(x), of two words each."""
    fixed = _sha(b"privedge transfers hash v1", _PAIRING)[:16]
    inner = _aes(fixed, key.to_bytes(16, "little"))
    tweak = (block << 64 | number).to_bytes(16, "little")
    return int.from_bytes(_xor(_aes(fixed, _xor(inner, tweak)), inner), "little")


def _extension(rows: int, width: int) -> dict[str, object]:
    seeds = [[_sha(b"seed %d %d" % (b, x))[:16] for x in range(16)] for b in range(32)]
    delta = [_sha(b"delta %d" % b)[0] % 16 for b in range(32)]
    size = rows * width + 2
    leaves = [[_words(_stream(seed), size) for seed in of_block] for of_block in seeds]
    u = [[_fold(column, range(16)) for column in zip(*block, strict=True)] for block in leaves]
    v = [
        [_fold(column, [x for x in range(16) if x >> i & 1]) for column in zip(*block, strict=True)]
        for block in leaves
        for i in range(4)
    ]
    corrections = b"".join(
        _bytes_of([a ^ b for a, b in zip(each, u[0], strict=True)]) for each in u[1:]
    )
    sizes = b"".join(size.to_bytes(8, "little") for size in (0, rows, width))
    said = _sha(b"privedge transfers check v2", _sha(b"said"), sizes, corrections)
    key = _sha(b"privedge transfers point v1", said)[:16]
    message = corrections + b"".join(_ghash(key, _bytes_of(row)) for row in [u[0], *v])
    chosen, pairs = [], []
    choices = u[0][2:]
    whole = sum(place << 4 * block for block, place in enumerate(delta))
    for row, i, w in product(range(rows), range(64), range(width)):
        word = row * width + w
        own = sum((v[bit][2 + word] >> i & 1) << bit for bit in range(128))
        number = row * 64 * width + i * width + w
        choice = choices[word] >> i & 1
        zero = own ^ whole * choice
        chosen.append(_hash(own, number, 0))
        pairs += [_hash(zero, number, 0), _hash(zero ^ whole, number, 0)]
        _must(pairs[choice - 2] == chosen[-1])
    return {
        "rows": rows,
        "width": width,
        "delta": delta,
        "message": _sha(message).hex(),
        "choices": _bytes_of(choices).hex(),
        "chosen": _sha(b"".join(each.to_bytes(16, "little") for each in chosen)).hex(),
        "pairs": _sha(b"".join(each.to_bytes(16, "little") for each in pairs)).hex(),
    }


def _product(rows: int) -> dict[str, object]:
    """One word of elements: x is drawn bit by bit, y was there before. P chooses in direction 0, S
    in direction 1; each has the keys of what it chose, and both of the other direction.
    """
    places = range(64)
    delta = [int.from_bytes(_sha(b"delta %d" % d)[:16], "little") for d in (0, 1)]
    x, y, shares, messages = [[0] * 64, [0] * 64], [], [], [b"", b""]
    for party in (0, 1):
        y.append([int.from_bytes(_sha(b"y %d %d" % (party, e))[:8], "little") for e in places])
        shares.append([0] * 64)
    for d, row, e in product((0, 1), range(rows), places):
        drawn = _sha(b"key %d %d %d" % (d, row, e))
        key, choice = int.from_bytes(drawn[:16], "little"), drawn[16] & 1
        zero, one = (_hash(key ^ delta[d] * c, row * 64 + e, 0) % (1 << 64) for c in (0, 1))
        # The other party's y is chosen by this one's bit.
        size = -(-(64 - row) // 8)
        cut = ((zero - one + y[1 - d][e]) % (1 << 64)).to_bytes(8, "little")[:size]
        messages[d] += cut
        x[d][e] |= choice << row
        own = (one if choice else zero) + choice * int.from_bytes(cut, "little")
        shares[d][e] += own << row
        shares[1 - d][e] -= zero << row
    for party, e in product((0, 1), places):
        shares[party][e] = (shares[party][e] + x[party][e] * y[party][e]) % (1 << 64)
    for e in places:
        whole = [sum(each[party][e] for party in (0, 1)) for each in (x, y, shares)]
        _must((whole[0] * whole[1] - whole[2]) % (1 << 64) == 0)
    return {
        "rows": rows,
        "second": _sha(messages[0]).hex(),
        "third": _sha(messages[1]).hex(),
        "x": [_sha(_bytes_of(each)).hex() for each in x],
        "xy": [_sha(_bytes_of(each)).hex() for each in shares],
    }


def _fold(column: Sequence[int], places: Sequence[int]) -> int:
    total = 0
    for place in places:
        total ^= column[place]
    return total


def _lookup(size: int, products: Sequence[int]) -> dict[str, object]:
    """One element: pads are bytes of a hash, a segment has one byte, two or four."""
    wide = 1 if len(products) <= 8 else 2 if len(products) <= 16 else 4
    words = -(-(wide << (size - 1)) // 16) * 16
    keys = [
        [b"".join(_sha(b"pad %d %d %d" % (i, bit, n)) for n in range(8))[:words] for bit in (0, 1)]
        for i in range(size)
    ]
    ones, own, chosen = (1 << len(products)) - 1, (1 << size) - 2, 1
    values = [
        sum(1 << at for at, each in enumerate(products) if (j ^ own) & each == each)
        for j in range(1 << size)
    ]
    padded = []
    for j in range(1 << size):
        pad = 0
        for i in range(size):
            others = (j >> (i + 1) << i) | (j & ((1 << i) - 1))
            part = keys[i][j >> i & 1][others * wide : (others + 1) * wide]
            pad ^= int.from_bytes(part, "little")
        padded.append((pad & ones) ^ values[j])
    share = padded[0]
    sent = sum((each ^ share) << len(products) * j for j, each in enumerate(padded[1:]))
    count = -(-len(products) * ((1 << size) - 1) // 8)
    return {
        "size": size,
        "products": list(products),
        "pads": [[key.hex() for key in pair] for pair in keys],
        "own": own,
        "chosen": chosen,
        "sent": sent.to_bytes(count, "little").hex(),
        "share": share,
        "theirs": share ^ values[chosen],
    }


def _uniform(stream: Iterator[int], count: int) -> list[int]:
    """Four rows of words, of which each gives two digits of 27 bits."""
    rows = [_words(stream, count) for _ in range(4)]
    ones = (1 << 27) - 1
    return [
        sum(((rows[at][n] & ones) | (rows[at][n] >> 32 & ones) << 27) << 54 * at for at in range(4))
        for n in range(count)
    ]


def _ternary(stream: Iterator[int]) -> list[int]:
    kept: list[int] = []
    while len(kept) < _DEGREE:
        raw = _bytes_of(_words(stream, _DEGREE // 32 + 64))
        kept += [each >> at & 3 for at in (0, 2, 4, 6) for each in raw if each >> at & 3 < 3]
    return [each - 1 for each in kept[:_DEGREE]]


def _errors(stream: Iterator[int], count: int) -> list[int]:
    ones = (1 << 21) - 1
    return [
        (word & ones).bit_count() - (word >> 21 & ones).bit_count()
        for word in _words(stream, count)
    ]


def _multiplied(one: Sequence[int], small: Sequence[int]) -> list[int]:
    """Modulo X^8192 + 1 and q: coefficients side by side in one integer of 256 bits each."""
    packed = int.from_bytes(b"".join(each.to_bytes(32, "little") for each in one), "little")
    total = [0] * _DEGREE
    for sign in (1, -1):
        chosen = b"".join((each == sign).to_bytes(32, "little") for each in small)
        raw = (packed * int.from_bytes(chosen, "little")).to_bytes(64 * _DEGREE, "little")
        whole = [int.from_bytes(raw[32 * n : 32 * n + 32], "little") for n in range(2 * _DEGREE)]
        for n in range(_DEGREE):
            total[n] += sign * (whole[n] - whole[n + _DEGREE])
    return [each % _Q for each in total]


def _plus(*parts: Sequence[int]) -> list[int]:
    return [sum(each) % _Q for each in zip(*parts, strict=True)]


def _coefficients(values: Sequence[int]) -> bytes:
    return b"".join(value.to_bytes(27, "little") for value in values)


def _encrypted(rows: int, columns: int) -> dict[str, object]:
    nonce = b"a nonce"
    weight = [_words(_stream(_sha(b"weight %d" % r)[:16]), columns) for r in range(rows)]
    mask = _words(_stream(_sha(b"mask")[:16]), columns)
    holder, evaluator = _stream(_sha(b"stream 0")[:16]), _stream(_sha(b"stream 1")[:16])

    def public(column: int) -> list[int]:
        text = b"privedge a v1" + len(nonce).to_bytes(8, "little") + nonce
        key = _sha(text, (column + 1).to_bytes(8, "little"))[:16]
        return _uniform(_stream(key), _DEGREE)

    secret = _ternary(holder)
    a = [public(column) for column in range(-1, columns)]
    b = [_plus(_multiplied(each, secret), _errors(holder, _DEGREE)) for each in a]
    for column in range(columns):
        for row in range(rows):
            b[column + 1][row] = (b[column + 1][row] + (weight[row][column] << 152)) % _Q
    once = [_coefficients(b[0]), *(_coefficients(each[:rows]) for each in b[1:])]
    # The scalars are signed.
    signed = [word - (word >> 63 << 64) for word in mask]
    v = _ternary(evaluator)
    combined = [
        [sum(s * p[n] for s, p in zip(signed, of[1:], strict=True)) % _Q for n in range(k)]
        for of, k in ((a, _DEGREE), (b, rows))
    ]
    sent_a = _plus(combined[0], _multiplied(a[0], v), _errors(evaluator, _DEGREE))
    hiding = _uniform(evaluator, rows)
    sent_b = _plus(combined[1], _multiplied(b[0], v)[:rows], hiding)
    high = b"".join((value >> 108).to_bytes(14, "little") for value in sent_b)
    of_evaluator = [-(value >> 152) % 2**64 for value in hiding]
    opened = _multiplied(sent_a, secret)[:rows]
    of_holder = [
        (((x >> 108) - (y >> 108)) % 2**108) >> 44 for x, y in zip(sent_b, opened, strict=True)
    ]
    for at in range(rows):
        wanted = sum(w * m for w, m in zip(weight[at], mask, strict=True))
        _must((of_holder[at] + of_evaluator[at] - wanted) % 2**64 == 0)
    return {
        "rows": rows,
        "columns": columns,
        "nonce": nonce.hex(),
        "weight": [_bytes_of(row).hex() for row in weight],
        "mask": _bytes_of(mask).hex(),
        "once": [_sha(each).hex() for each in once],
        "reply": _sha(_coefficients(sent_a) + high).hex(),
        "evaluator": of_evaluator,
        "holder": of_holder,
    }


def _public(nonce: bytes, group: int, chunk: int) -> list[int]:
    text = b"privedge hints v1" + len(nonce).to_bytes(8, "little") + nonce
    text += (group + 1).to_bytes(8, "little") + (chunk + 1).to_bytes(8, "little")
    return _uniform(_stream(_sha(text)[:16]), _DEGREE)


def _by_words(one: Sequence[int], words: Sequence[int]) -> list[int]:
    """A product with signed words modulo X^8192 + 1 and q, one word after the other."""
    total = [0] * _DEGREE
    for at, word in enumerate(words):
        for n in range(_DEGREE if word else 0):
            place = (n + at) % (2 * _DEGREE)
            if place < _DEGREE:
                total[place] += word * one[n]
            else:
                total[place - _DEGREE] -= word * one[n]
    return [each % _Q for each in total]


def _hinted(outputs: int, inputs: int) -> dict[str, object]:
    """A dense layer of one owner: maps side by side in one polynomial, each one's taps backwards.

    Of what is made of products by words only the high 64 bits are compared: the project leaves out
    what is far below them.
    """
    nonce = b"a nonce"
    weight = [_words(_stream(_sha(b"weight %d" % o)[:16]), inputs) for o in range(outputs)]
    mask = _words(_stream(_sha(b"mask")[:16]), inputs)
    holder, asker, answerer = (_stream(_sha(b"stream %d" % at)[:16]) for at in range(3))
    key, a = _public(nonce, -1, -1), _public(nonce, 0, 0)
    turn, kernels = inputs - 1, [0] * _DEGREE
    for o, row in enumerate(weight):
        for at, word in enumerate(row):
            kernels[o * inputs + turn - at] = word - (word >> 63 << 64)
    # Once: K's hint.
    v = _ternary(holder)
    hint = _plus(_multiplied(key, v), _errors(holder, _DEGREE), _by_words(a, kernels))
    # An image: F's message; the lowest digit of b is not sent.
    secret = _ternary(asker)
    own_key = _plus(_multiplied(key, secret), _errors(asker, _DEGREE))
    b = _plus(_multiplied(a, secret), _errors(asker, _DEGREE))
    b = [(x + (mask[at] << 152 if at < inputs else 0)) % _Q for at, x in enumerate(b)]
    message = b"".join((x >> 81).to_bytes(17, "little") for x in own_key)
    message += b"".join((x >> 27).to_bytes(24, "little") for x in b)
    # K's answer, at the places of the outputs.
    places = [turn + o * inputs for o in range(outputs)]
    seen = _by_words([x >> 27 << 27 for x in b], kernels)
    hidden = _multiplied([x >> 81 << 81 for x in own_key], v)
    hiding = _uniform(answerer, outputs)
    reply = [(seen[p] + hidden[p] + r) % _Q for p, r in zip(places, hiding, strict=True)]
    of_holder = [-(r >> 152) % 2**64 for r in hiding]
    opened = _multiplied([x >> 81 << 81 for x in hint], secret)
    of_masks = [
        (((y >> 81) - (opened[p] >> 81)) % 2**135) >> 71 for y, p in zip(reply, places, strict=True)
    ]
    for at in range(outputs):
        wanted = sum(w * m for w, m in zip(weight[at], mask, strict=True))
        _must((of_holder[at] + of_masks[at] - wanted) % 2**64 == 0)
    return {
        "outputs": outputs,
        "inputs": inputs,
        "nonce": nonce.hex(),
        "weight": [_bytes_of(row).hex() for row in weight],
        "mask": _bytes_of(mask).hex(),
        "hint": _sha(_bytes_of([x >> 152 for x in hint])).hex(),
        "message": _sha(message).hex(),
        "reply": [y >> 152 for y in reply],
        "of_holder": of_holder,
        "of_masks": of_masks,
    }


def _several(size: int) -> list[int]:
    return [each for each in range(1 << size) if each.bit_count() > 1]


def _must(holds: bool) -> None:
    if not holds:
        raise SystemExit("the vectors contradict each other")


def _vectors() -> dict[str, object]:
    keys = [(_sha(b"left %d" % n)[:16], _sha(b"right %d" % n)[:16]) for n in range(4)]
    root = _sha(b"root")[:16]
    message, leaves = _tree(root, keys)
    return {
        "pairing": _PAIRING.hex(),
        "tree": {
            "root": root.hex(),
            "keys": [[key.hex() for key in pair] for pair in keys],
            "message": message.hex(),
            "leaves": [leaf.hex() for leaf in leaves],
        },
        "extension": _extension(2, 2),
        "lookups": [_lookup(size, _several(size)) for size in (2, 3, 4, 5)],
        "product": _product(64),
        "encrypted": _encrypted(3, 2),
        "hinted": _hinted(3, 4),
    }


if __name__ == "__main__":
    json.dump(_vectors(), sys.stdout, indent=1)
    sys.stdout.write("\n")

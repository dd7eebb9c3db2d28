"""The steps give what an implementation of plain integers gives (tools/twoparty_vectors.py)."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from parties.mpc.fixed_product import FixedProduct
from parties.mpc.prg import KeyStream
from parties.mpc.tuples import Product
from parties.mpc.twoparty import hints, punctured, ring
from parties.mpc.twoparty.encrypted import Evaluator, KeyHolder
from parties.mpc.twoparty.extension import Receiver, Sender
from parties.mpc.twoparty.hints import SENT, MaskHolder, WeightHolder
from parties.mpc.twoparty.keys import Chosen, Pairs
from parties.mpc.twoparty.layers import Layer
from parties.mpc.twoparty.lookup import Lookup
from parties.mpc.twoparty.making import Choosing, Giving, chunks
from privedge.sharing.ring import Words
from tools import twoparty_vectors

_ROOT = Path(__file__).parents[4]
_STORED: dict[str, Any] = json.loads((_ROOT / "tests/golden/twoparty.json").read_text())
_PAIRING = bytes.fromhex(_STORED["pairing"])


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _words(raw: str) -> Words:
    return np.frombuffer(bytes.fromhex(raw), np.uint64)


@pytest.mark.slow
def test_the_file_is_what_the_tool_writes() -> None:
    assert json.loads(json.dumps(twoparty_vectors._vectors())) == _STORED


def test_a_tree_of_seeds() -> None:
    tree = _STORED["tree"]
    keys = [(bytes.fromhex(left), bytes.fromhex(right)) for left, right in tree["keys"]]
    message, leaves = punctured.planted(bytes.fromhex(tree["root"]), keys)
    assert message.hex() == tree["message"]
    assert [leaf.hex() for leaf in leaves] == tree["leaves"]


def test_an_extension() -> None:
    known = _STORED["extension"]
    rows, width, delta = known["rows"], known["width"], known["delta"]
    leaves = [
        [hashlib.sha256(b"seed %d %d" % (block, x)).digest()[:16] for x in range(16)]
        for block in range(32)
    ]
    punctured_leaves = [
        [None if x == missing else leaf for x, leaf in enumerate(of_block)]
        for missing, of_block in zip(delta, leaves, strict=True)
    ]
    said = hashlib.sha256(b"said").digest()
    message, chosen = Receiver(_PAIRING, leaves, said).extend(rows, width)
    pairs = Sender(_PAIRING, delta, punctured_leaves, said).extend(rows, width, message)
    assert _sha(message) == known["message"]
    assert b"".join(chosen.choice(row).tobytes() for row in range(rows)).hex() == known["choices"]
    assert _sha(b"".join(chosen.pad(row).tobytes() for row in range(rows))) == known["chosen"]
    both = [np.stack(pairs.pads(row), axis=1) for row in range(rows)]
    assert _sha(b"".join(each.tobytes() for each in both)) == known["pairs"]


@pytest.mark.parametrize("known", _STORED["lookups"], ids=lambda known: f"{known['size']} bits")
def test_a_lookup(known: dict[str, Any]) -> None:
    form = Lookup(known["size"], known["products"])
    pads = [(_words(zero)[None], _words(one)[None]) for zero, one in known["pads"]]
    own, chosen = np.array([known["own"]], np.uint64), np.array([known["chosen"]], np.uint64)
    sent, share = form.send(pads, own)
    assert (sent.tobytes().hex(), int(share[0])) == (known["sent"], known["share"])
    of_choice = [pair[known["chosen"] >> at & 1] for at, pair in enumerate(pads)]
    assert int(form.receive(of_choice, chosen, sent)[0]) == known["theirs"]


def _transfers(direction: int, rows: int) -> tuple[Chosen, Pairs]:
    """Rows of one word: both ends, without an extension."""
    drawn = [
        hashlib.sha256(b"key %d %d %d" % (direction, row, element)).digest()
        for row in range(rows)
        for element in range(64)
    ]
    delta = hashlib.sha256(b"delta %d" % direction).digest()[:16]
    zero = np.unpackbits(_keys([each[:16] for each in drawn]), axis=1, bitorder="little")
    chosen = np.array([each[16] & 1 for each in drawn], np.uint8)
    bits = np.unpackbits(np.frombuffer(delta, np.uint8), bitorder="little")
    own = zero ^ chosen[:, None] * bits
    of_choice = Chosen(_PAIRING, 0, _packed(chosen), np.stack([*map(_packed, own.T)]), 1)
    return of_choice, Pairs(_PAIRING, 0, np.stack([*map(_packed, zero.T)]), bits.tolist(), 1)


def _keys(keys: list[bytes]) -> npt.NDArray[np.uint8]:
    return np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), -1)


def _packed(bits: npt.NDArray[np.uint8]) -> Words:
    return np.packbits(bits, bitorder="little").view(np.uint64)


def test_a_product_of_two_masks() -> None:
    known = _STORED["product"]
    (chosen, theirs), (back, own) = (_transfers(at, known["rows"]) for at in (0, 1))
    starts = [
        np.array(
            [
                int.from_bytes(hashlib.sha256(b"y %d %d" % (party, e)).digest()[:8], "little")
                for e in range(64)
            ],
            np.uint64,
        )[:, None]
        for party in (0, 1)
    ]
    (chunk,) = chunks([Product("mul", (64,), (64,))])
    assert (chunk.forward, chunk.reverse) == (known["rows"],) * 2
    s = Giving(chunk, theirs, back, ring.fresh(), starts[1])
    p = Choosing(chunk, chosen, own, ring.fresh(), starts[0])
    third = p.answer(s.message)
    fourth, of_s = s.finish(third)
    of_p = p.finish(fourth)
    assert [_sha(s.message), _sha(third), fourth] == [known["second"], known["third"], b""]
    assert [_sha(each[0][0].tobytes()) for each in (of_p, of_s)] == known["x"]
    assert [_sha(each[1][0].tobytes()) for each in (of_p, of_s)] == known["xy"]


def test_an_encrypted_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    known = _STORED["encrypted"]
    streams = iter(hashlib.sha256(b"stream %d" % at).digest()[:16] for at in (0, 1))
    monkeypatch.setattr(ring, "fresh", lambda: KeyStream(next(streams)))
    weight = np.stack([_words(row) for row in known["weight"]])
    nonce = bytes.fromhex(known["nonce"])
    holder, evaluator = KeyHolder(weight, nonce), Evaluator(*weight.shape, nonce)
    messages = list(holder.messages())
    assert [_sha(message) for message in messages] == known["once"]
    for message in messages:
        evaluator.take(message)
    (reply,), (share,) = evaluator.replies(_words(known["mask"])[None])
    assert _sha(reply) == known["reply"]
    assert share.tolist() == known["evaluator"]
    assert holder.share(reply).tolist() == known["holder"]


@pytest.mark.parametrize("few", [True, False])
def test_a_hinted_weight(few: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """By both ways of summing."""
    monkeypatch.setattr(hints, "_GATHERED", 1 << 40 if few else 0)
    known = _STORED["hinted"]
    streams = iter(hashlib.sha256(b"stream %d" % at).digest()[:16] for at in range(3))
    monkeypatch.setattr(ring, "fresh", lambda: KeyStream(next(streams)))
    outputs, inputs = known["outputs"], known["inputs"]
    layer = Layer.of(FixedProduct("dense", "w", (1, outputs, inputs), (1, 1, inputs)))
    weight = np.stack([_words(row) for row in known["weight"]])[None]
    nonce = bytes.fromhex(known["nonce"])
    holder, masks = WeightHolder(layer, [weight], nonce), MaskHolder(layer, nonce)
    (hint,) = holder.messages()
    masks.take(hint)
    high = ring.unscaled(ring.from_bytes(hint, SENT))
    assert _sha(high.tobytes()) == known["hint"]
    message, asked = masks.ask(_words(known["mask"])[None, None])
    assert _sha(message) == known["message"]
    reply, (own,) = holder.reply(message)
    assert ring.unscaled(ring.from_bytes(reply, SENT))[:outputs].tolist() == known["reply"]
    assert own.reshape(-1).tolist() == known["of_holder"]
    (theirs,) = masks.shares(asked, reply)
    assert theirs.reshape(-1).tolist() == known["of_masks"]

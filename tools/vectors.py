"""Write tests/golden/protocol.json: what the protocol computes for fixed seeds and shares.

    python tools/vectors.py            write the file anew
    python tools/vectors.py --check    compare with the file; 1 if a vector differs, and its name

docs/protocol.md says what each vector means. All seeds, masks and shares here are test values; real
ones come from the operating system. In `words`, each word is a number of 16 hexadecimal digits;
words are row-major, with spaces between them. A long array is replaced by the SHA-256 of its wire
form.
"""

import hashlib
import json
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Queue
from typing import Any

import torch

from parties.mpc import widening
from parties.mpc.dealing import Dealer, SessionId, Tuples, TupleShares
from parties.mpc.fixed_product import FixedProduct
from parties.mpc.fused import choice, compare, pairs, squares, tree
from parties.mpc.fused.choice import Choice
from parties.mpc.fused.packing import planes
from parties.mpc.fused.pairs import Pair
from parties.mpc.fused.squares import TruncatedSquare
from parties.mpc.fused.tuples import NIBBLES, Comparison, ExactTruncation, FusedRelu
from parties.mpc.prg import MaskStream
from parties.mpc.release import ReleaseKey, release
from parties.mpc.session import Session
from parties.mpc.tuples import And, Bit, Product, Square, Truncation, TupleKind
from parties.mpc.widening import Widen
from parties.mpc.window import Window
from parties.party.models.cohorts import Cohort, Snapshot, SnapshotModel
from privedge.ran.presets import preset
from privedge.sharing.fixed_point import encode
from privedge.sharing.manifest import ModelManifest, TensorEntry, commitment
from privedge.sharing.question import Question
from privedge.sharing.ring import to_bytes

FILE = Path(__file__).resolve().parents[1] / "tests" / "golden" / "protocol.json"

SESSION = bytes(range(0x40, 0x50))
SEEDS = bytes(range(0x00, 0x20)), bytes(range(0x20, 0x40))
NONCES = bytes(range(0xC0, 0xE0)), bytes(range(0xE0, 0x100))
WEIGHT_SEEDS = bytes(range(0x80, 0xA0)), bytes(range(0xA0, 0xC0))
# A longer array is replaced by its digest.
_MOST_WORDS = 32
_TIMEOUT_S = 60

Program = Callable[[Session, Sequence[torch.Tensor]], torch.Tensor]


# --- Keys and tuples ------------------------------------------------------------------------------


def keys() -> Any:
    """docs/protocol.md#keys: the first words of a few streams."""
    chosen = [
        (SEEDS[0], "square (5,)", 0),
        (SEEDS[1], "square (5,)", 0),
        (SEEDS[0], "bit (70,)", 7),
    ]
    return [
        {
            "seed": seed.hex(),
            "purpose": purpose,
            "session": SESSION.hex(),
            "counter": counter,
            "words": _words(_stream(seed, purpose, counter).take((4,))),
        }
        for seed, purpose, counter in chosen
    ]


def released() -> Any:
    """docs/protocol.md#release: what each party releases of its share of three results."""
    shares, sides = _shared("released", [1, 0, 0]), _sides(_dealer(), _Wire.pair())
    given = {"nonces": [nonce.hex() for nonce in NONCES], "session": SESSION.hex()}
    given["shares"] = [*map(_words, shares)]
    for name in ("answer", "verify"):
        given[name] = [_words(release(*each, name)) for each in zip(sides, shares, strict=True)]
    return given


_KINDS: list[TupleKind] = [
    Comparison((3,), 16),
    Comparison((3,), 31),
    Pair((3,), 39, 2),
    Comparison((3,), 48),
    Comparison((3,), 63),
    Comparison((70,), 16),
    FusedRelu((3,), 16),
    FusedRelu((3,), 16, exact=True),
    ExactTruncation((3,), 16),
    TruncatedSquare((3,), 16),
    Choice(3, 2, 4),
    Choice(3, 0, 2),
    Truncation((3,), 16),
    Product("mul", (2, 3), (2, 3)),
    Product("matmul", (1, 2, 3), (2, 3, 2)),
    Product("conv2d", (1, 2, 3, 3), (2, 1, 2, 2), stride=1, groups=2),
    Square((3,)),
    And((3,)),
    Bit((3,)),
    Widen((3,), 24),
]


def tuples() -> Any:
    """docs/protocol.md#correlated-randomness: every kind, corrected at party 0 and at party 1."""
    return [_dealt(kind, counter) for kind in _KINDS for counter in (0, 1)]


def _dealt(kind: TupleKind, counter: int) -> Any:
    dealer = _dealer()
    sides = [Tuples(party, _run(), SEEDS[party], _Near(dealer, party)) for party in (0, 1)]
    for _ in range(counter):
        for side in sides:
            side.draw(Square((1,)))
    drawn = [side.draw(kind) for side in sides]
    return {
        "purpose": kind.purpose,
        "counter": counter,
        "receiver": counter % 2,
        "correction": _array(_dealer().correct(counter % 2, counter, kind)),
        "parties": [_shares(each) for each in drawn],
    }


def _shares(drawn: TupleShares) -> Any:
    return {"free": [*map(_array, drawn.free)], "derived": [*map(_array, drawn.derived)]}


def fixed_product() -> Any:
    """docs/protocol.md#fixed-products: from the weights' masks to shares of W x, for three maps."""
    return [
        _fixed("dense", (2, 2, 3), (1, 1, 3)),
        _fixed("dense_back", (2, 2, 3), (2, 1, 2)),
        _fixed("conv", (1, 2, 1, 2, 2), (1, 1, 1, 2, 2), Window(1, 2, (0, 0, 0, 0))),
    ]


def _fixed(name: Any, weight: tuple[int, ...], given: tuple[int, ...], *window: Window) -> Any:
    kind = FixedProduct(name, "0.weight", weight, given, *window)
    owners = slice(0, weight[0])
    # Shares of the layer's weight W and input x, and of the weight as prepared for products.
    w, x = (_shared(label, shape) for label, shape in (("weight", weight), ("input", given)))
    prepared = [kind.prepared(share) for share in w]
    masks = [kind.weight_mask(seed, owners) for seed in WEIGHT_SEEDS]
    e = prepared[0] - masks[0] + prepared[1] - masks[1]
    dealer = _dealer()
    sides = [Tuples(party, _run(), SEEDS[party], _Near(dealer, party)) for party in (0, 1)]
    ahead = [side.with_opened(kind, e) for side in sides]
    d = x[0] - ahead[0][0] + x[1] - ahead[1][0]
    z = [kind.apply(d, mine) + u for mine, (_, u) in zip(prepared, ahead, strict=True)]
    return {
        "purpose": kind.purpose,
        "mask_purpose": f"weight {kind.name} {kind.masked} from 0",
        "W": [*map(_words, w)],
        "prepared": [*map(_words, prepared)],
        "A": [*map(_words, masks)],
        "E": _words(e),
        "x": [*map(_words, x)],
        "B": [_words(b) for b, _ in ahead],
        "U": [_words(u) for _, u in ahead],
        "D": _words(d),
        "z": [*map(_words, z)],
        "shape": list(z[0].shape),
    }


# --- Comparison and what is built on it -----------------------------------------------------------


def tree_levels() -> Any:
    """docs/protocol.md#comparison: the order of masks and of their products, and less-than."""
    shapes = {level for nibbles in NIBBLES.values() for level in tree.levels(nibbles)}
    ordered = sorted(shapes, key=lambda level: (level.fan, level.groups, level.last))
    return {"levels": [_level(level) for level in ordered], "less": _less()}


def _level(level: tree.Level) -> Any:
    masks = _test_words(f"level {level.fan} {level.groups} {level.last}", (level.mask_rows, 1))
    products = level.products(masks)
    return {
        "fan": level.fan,
        "groups": level.groups,
        "last": level.last,
        "masks": _words(masks),
        "products": _words(products),
    }


def _less() -> Any:
    r = torch.tensor([0, 1, 0x7FFF_FFFF_FFFF, 0xF0F0_F0F0_F0F0, 0x1234_5678_9ABC])
    c = torch.tensor([0, 0, 0x7FFF_FFFF_FFFE, 0xF0F0_F0F0_F0F1, 0x1234_5678_9ABC])
    table = tree.tables(tree.nibble_planes(planes(r), NIBBLES[48]))
    lt, eq = tree.look_up(table, tree.nibble_planes(planes(c), NIBBLES[48]), one=-1)
    return {
        "r": r.tolist(),
        "c": c.tolist(),
        "table": _words(table),
        "lt": _words(lt),
        "eq": _words(eq),
        "c_is_less": (c < r).long().tolist(),
    }


_VALUES = [0, 1, -1, 3 << 16, -(3 << 16), (5 << 16) + 40000, -(5 << 16) - 40000]


def comparison() -> Any:
    """docs/protocol.md#comparison: [x < 0] for |x| < 2^16, for |x| < 2^39, and for any x."""
    small = [0, 1, -1, 65535, -65536]
    return [
        _played(lambda at, given: compare.negative(at, given[0], bits=16), small),
        _played(lambda at, given: compare.negative(at, given[0], bits=39), _VALUES),
        _played(lambda at, given: compare.negative(at, given[0], bits=63), _VALUES),
    ]


def pairs_compared() -> Any:
    """docs/protocol.md#pairs: the lesser of two numbers and what belongs to it, three times."""

    def program(at: Session, given: Sequence[torch.Tensor]) -> torch.Tensor:
        first, second = (rows.view(-1, 2) for rows in given)
        row, greater, later = pairs.lesser(at, first, second, bits=39)
        return torch.cat([row, greater.unsqueeze(1), later.unsqueeze(1)], 1)

    return _played(program, [5, 50, 7, 70, -9, 90], [4, 40, 7, 71, 1 << 38, 91])


def relu() -> Any:
    """docs/protocol.md#relu: max(x, 0) and x, both shifted right by 16; one unit and exact."""

    def both(exact: bool) -> Program:
        return lambda at, x: torch.stack(compare.rectified(at, x[0], bits=16, exact=exact))

    return [_played(both(exact), _VALUES) for exact in (False, True)]


def truncation() -> Any:
    """docs/protocol.md#truncation: the floor of x / 2^16, in three rounds."""
    return _played(lambda at, given: compare.truncated(at, given[0], bits=16), _VALUES)


def truncated_square() -> Any:
    """docs/protocol.md#squares: the square of x / 2^16, rounded, in one round."""
    return _played(lambda at, given: squares.truncated_square(at, given[0], bits=16), _VALUES)


def widened() -> Any:
    """docs/protocol.md#narrow-words: words of 24 bits become words of 64, in one round."""
    values = [0, 1, -1, (1 << 22) - 1, 1 - (1 << 22), 1 << 22, 1 << 23, 1 << 24, 1 << 40]
    return _played(lambda at, given: widening.widened(at, given[0], bits=24), values)


def chosen() -> Any:
    """docs/protocol.md#choice: [index = k] for k = 0, 1, and its products with two values each."""

    def program(at: Session, given: Sequence[torch.Tensor]) -> torch.Tensor:
        index, values = given
        hot, products = choice.chosen(at, index, values.view(-1, 2), below=4, places=2)
        return torch.cat([hot.unsqueeze(2), products], 2)

    return _played(program, [0, 1, 3], [10, 11, 12, 13, 14, 15])


def _played(program: Program, *secrets: list[int]) -> Any:
    """One run at both parties: every tuple, word and digest that is drawn or sent."""
    given = [_shared(f"share {at}", values) for at, values in enumerate(secrets)]
    wires = _Wire.pair()
    sides = _sides(_dealer(), wires)
    results: list[torch.Tensor] = [torch.zeros(0)] * 2

    def play(party: int) -> None:
        results[party] = program(sides[party], [shares[party] for shares in given])

    threads = [threading.Thread(target=play, args=(party,)) for party in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_TIMEOUT_S)
    drawn = [side.tuples.drawn for side in sides if isinstance(side.tuples, _Kept)]
    return {
        "tuples": [kind.purpose for kind in sides[0].tuples.used],
        "secrets": list(secrets),
        "shares": [[*map(_words, shares)] for shares in given],
        "drawn": [[_full(each) for each in shares] for shares in drawn],
        "sent": [[_words(words) for words, _ in wire.sent] for wire in wires],
        "digests": [digest for _, digest in wires[0].sent],
        "result_shares": [*map(_words, results)],
        "result": (results[0] + results[1]).tolist(),
    }


def _sides(dealer: Dealer, wires: "Sequence[_Wire]") -> list[Session]:
    supplies = [_Kept(at, _run(), SEEDS[at], _Near(dealer, at)) for at in (0, 1)]
    keys = [ReleaseKey(NONCES, SESSION) for _ in supplies]
    return [*map(Session, (0, 1), wires, supplies, keys)]


def _full(drawn: TupleShares) -> Any:
    return {"free": [*map(_words, drawn.free)], "derived": [*map(_words, drawn.derived)]}


# --- Ids and digests ------------------------------------------------------------------------------


def snapshot_id() -> Any:
    """docs/protocol.md#sessions: the id of the models that a query is asked against."""
    cohort = Cohort("digits", preset("subspace32", height=32, width=32, channels=1), 0.9, 0.35)
    owners = [("ana", "0a" * 16, "1b" * 32), ("ben", "0c" * 16, "1d" * 32)]
    models = tuple(SnapshotModel(*each, "{}", Path("share"), b"") for each in owners)
    return {
        "spec": cohort.spec.to_json(),
        "spec_digest": cohort.spec_digest,
        "rule": [cohort.margin, cohort.mean_share],
        "models": [list(each) for each in owners],
        "id": Snapshot(cohort, models).id,
    }


def query_digest() -> Any:
    """docs/protocol.md#sessions: the digest that both parties compare before a run."""
    every = [
        Question("0e" * 16, "digits", "1f" * 32, (1, 1, 32, 32)),
        Question("0e" * 16, "digits", "1f" * 32, (3, 1, 32, 32), "ana", one_subject=True),
    ]
    return [
        {
            "query_id": each.query_id,
            "cohort": each.cohort,
            "snapshot_id": each.snapshot_id,
            "shape": list(each.shape),
            "verify_owner": each.verify_owner,
            "one_subject": each.one_subject,
            "client": "carla",
            "digest": each.digest("carla").hex(),
        }
        for each in every
    ]


def manifest() -> Any:
    """docs/protocol.md#sessions: commitments to both shares of a tensor, and the manifest."""
    salts = bytes(range(32)), bytes(range(32, 64))
    shares = [to_bytes(encode(values)) for values in ([1.0, -2.25], [0.5, 3.0])]
    commitments = []
    for salt, share in zip(salts, shares, strict=True):
        committed = commitment(salt, "threshold")
        committed.update(share)
        commitments.append(committed.hexdigest())
    entry = TensorEntry("threshold", (2,), (commitments[0], commitments[1]))
    whole = ModelManifest("0a" * 16, "digits", "ana", "2b" * 32, (entry,))
    return {
        "salts": [salt.hex() for salt in salts],
        "share_bytes": [share.hex() for share in shares],
        "commitments": commitments,
        "text": whole.to_json(),
        "digest": whole.digest(),
    }


# One function a vector. What two workers compare in their first message (docs/protocol.md#sessions)
# has its own: tests/golden/agreement.json.
VECTORS: dict[str, Callable[[], Any]] = {
    "keys": keys,
    "released": released,
    "tuples": tuples,
    "fixed_product": fixed_product,
    "tree": tree_levels,
    "comparison": comparison,
    "pairs": pairs_compared,
    "relu": relu,
    "truncation": truncation,
    "truncated_square": truncated_square,
    "choice": chosen,
    "widened": widened,
    "snapshot_id": snapshot_id,
    "query_digest": query_digest,
    "manifest": manifest,
}


# --- Parts ----------------------------------------------------------------------------------------


class _Near:
    """A link (mpc.dealing.DealerLink) to a dealer in this process."""

    def __init__(self, dealer: Dealer, party: int) -> None:
        self._dealer, self._party = dealer, party
        self._wanted: list[tuple[int, TupleKind]] = []

    def request(self, tuples: list[tuple[int, TupleKind]]) -> None:
        self._wanted += tuples

    def receive(self, counter: int) -> torch.Tensor:
        _, kind = self._wanted.pop(0)
        return self._dealer.correct(self._party, counter, kind)


class _Kept(Tuples):
    """Tuples that are also recorded."""

    def __init__(self, party: int, run: SessionId, seed: bytes, link: _Near) -> None:
        super().__init__(party, run, seed, link)
        self.drawn: list[TupleShares] = []

    def draw(self, kind: TupleKind) -> TupleShares:
        # Clones, because a protocol step may work in place.
        shares = super().draw(kind)
        free, derived = ([part.clone() for part in each] for each in (shares.free, shares.derived))
        self.drawn.append(TupleShares(free, derived))
        return shares


class _Wire:
    """One end of a link (mpc.session.PeerLink) in this process.

    It records what it sent: words, and the digest in hex.
    """

    def __init__(self, out: "Queue[bytes]", back: "Queue[bytes]") -> None:
        self._out, self._back = out, back
        self.sent: list[tuple[torch.Tensor, str]] = []

    @staticmethod
    def pair() -> "tuple[_Wire, _Wire]":
        here: Queue[bytes] = Queue()
        there: Queue[bytes] = Queue()
        return _Wire(here, there), _Wire(there, here)

    def exchange(self, payload: bytes) -> bytearray:
        words, digest = bytearray(payload[:-16]), payload[-16:]
        self.sent.append((torch.frombuffer(words, dtype=torch.int64), digest.hex()))
        self._out.put(payload)
        return bytearray(self._back.get(timeout=_TIMEOUT_S))


def _run() -> SessionId:
    return SessionId(SESSION)


def _dealer() -> Dealer:
    return Dealer(_run(), SEEDS, WEIGHT_SEEDS, max_elements=1 << 16)


def _stream(seed: bytes, purpose: str, counter: int) -> MaskStream:
    return MaskStream(seed, purpose=purpose, session=SESSION, counter=counter)


def _test_words(label: str, shape: Sequence[int]) -> torch.Tensor:
    """Test values that look like masks: SHAKE-128 of a label."""
    count = torch.Size(shape).numel()
    raw = bytearray(hashlib.shake_128(label.encode()).digest(8 * count))
    return torch.frombuffer(raw, dtype=torch.int64).reshape(*shape)


def _shared(label: str, secret: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Share the numbers `secret`; if it is a tuple, it is a shape, and 1, 2, 3, ... are shared."""
    if isinstance(secret, tuple):
        values = torch.arange(1, torch.Size(secret).numel() + 1).reshape(secret)
    else:
        values = torch.tensor(secret)
    first = _test_words(label, values.shape)
    return first, values - first


def _words(array: torch.Tensor) -> str:
    return " ".join(f"{word & (1 << 64) - 1:016x}" for word in array.reshape(-1).tolist())


def _array(array: torch.Tensor) -> Any:
    if array.numel() <= _MOST_WORDS:
        return {"shape": list(array.shape), "words": _words(array)}
    digest = hashlib.sha256(array.contiguous().numpy().tobytes()).hexdigest()
    return {"shape": list(array.shape), "first": _words(array.reshape(-1)[:4]), "sha256": digest}


def text(vectors: dict[str, Any]) -> str:
    """Return the file's text, a line for each part of a vector, so that a diff is easy to read."""
    return "{\n" + ",\n".join(map(_lines, vectors.items())) + "\n}\n"


def _lines(vector: tuple[str, Any]) -> str:
    name, value = vector
    if isinstance(value, list):
        return f'"{name}": [\n ' + ",\n ".join(map(json.dumps, value)) + "\n]"
    parts = (f'"{key}": {json.dumps(part)}' for key, part in value.items())
    return f'"{name}": {{\n ' + ",\n ".join(parts) + "\n}"


Vectors = dict[str, Callable[[], Any]]


def differing(stored: dict[str, Any], vectors: Vectors) -> list[str]:
    """Return the names of vectors that the code computes differently, or that one side lacks."""
    made = {name: json.loads(json.dumps(make())) for name, make in vectors.items()}
    return sorted(name for name in made | stored if made.get(name) != stored.get(name))


def main(arguments: Sequence[str], file: Path = FILE, vectors: Vectors = VECTORS) -> int:
    """Write `vectors` to `file`, or compare the two; return the exit status."""
    if list(arguments) == ["--check"]:
        wrong = differing(json.loads(file.read_text()), vectors)
        for name in wrong:
            sys.stderr.write(f"{file}: {name} is not what the code computes\n")
        return bool(wrong)
    if arguments:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    file.write_text(text({name: make() for name, make in vectors.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

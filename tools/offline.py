"""Print what two parties need to make randomness: CPU time and bytes of each kind, in one process.

    OMP_NUM_THREADS=1 python -m tools.offline                    kinds of tuples, and a weight
    OMP_NUM_THREADS=1 python -m tools.offline PRESET OWNERS LOT  bundles of a cohort of a preset

Microseconds are those of one party, the mean of both, on one core; bytes are both ways.
Experimental: not reviewed from outside (docs/adr/0046).
"""

import os
import sys
import threading
import time
from collections.abc import Callable

import numpy as np
import torch

from parties.mpc.dealing import SessionId
from parties.mpc.fixed_product import FixedProduct
from parties.mpc.fused.choice import Choice
from parties.mpc.fused.engine import FusedEngine
from parties.mpc.fused.squares import TruncatedSquare
from parties.mpc.fused.tuples import Comparison, ExactTruncation, FusedRelu
from parties.mpc.planning import planned
from parties.mpc.predict import Rule, predict
from parties.mpc.prg import KEY_BYTES, KeyStream
from parties.mpc.tuples import Product, Square, Truncation, TupleKind
from parties.mpc.twoparty.encrypted import Evaluator, KeyHolder
from parties.mpc.twoparty.extension import Picking, Planting, Receiver, Sender
from parties.mpc.twoparty.learned import Models, of_owners
from parties.mpc.twoparty.maker import TwoParty
from parties.mpc.twoparty.making import Choosing, Chunk, Giving, chunks, given
from parties.mpc.widening import Widen
from privedge.ran.presets import preset
from privedge.sharing.ring import Words
from privedge_lab.reference.recording import QueueLink

_ELEMENTS = 8192
_TRANSFERS = (91, 64)
_REPEATS = 3
_ROWS, _COLUMNS, _LOT = 2600, 512, 8
_KINDS: list[Callable[[int], TupleKind]] = [
    lambda n: FusedRelu((n,), 16),
    lambda n: FusedRelu((n,), 16, exact=True),
    lambda n: Comparison((n,), 63),
    lambda n: Comparison((n,), 48),
    lambda n: TruncatedSquare((n,), 16),
    lambda n: Truncation((n,), 16),
    lambda n: ExactTruncation((n,), 16),
    lambda n: Choice(n, 2, 4),
    lambda n: Square((n,)),
    lambda n: Product("mul", (n // 8, 8), (n // 8, 1)),
    lambda n: Widen((n,), 45),
]


class _Pair:
    """Both parties; counts bytes."""

    def __init__(self) -> None:
        self.ends = [_ends(bytes([party])) for party in (0, 1)]
        self.sent = 0

    def make(self, chunk: Chunk, starts: list[Words | None]) -> None:
        """All messages of one chunk. `starts`: what each party has of `given`."""
        sender, receiver = self.ends[chunk.giver]
        message, chosen = receiver.extend(chunk.forward, chunk.width)
        pairs = sender.extend(chunk.forward, chunk.width, message)
        self.sent += len(message)
        back_pairs, back_chosen = None, None
        if chunk.reverse:
            sender, receiver = self.ends[1 - chunk.giver]
            message, back_chosen = receiver.extend(chunk.reverse, chunk.width)
            back_pairs = sender.extend(chunk.reverse, chunk.width, message)
            self.sent += len(message)
        giving = Giving(chunk, pairs, back_chosen, _stream(), starts[chunk.giver])
        choosing = Choosing(chunk, chosen, back_pairs, _stream(), starts[1 - chunk.giver])
        third = choosing.answer(giving.message)
        fourth, _ = giving.finish(third)
        choosing.finish(fourth)
        self.sent += len(giving.message) + len(third) + len(fourth)


def _ends(pairing: bytes) -> tuple[Sender, Receiver]:
    planting = Planting(pairing)
    picking = Picking(pairing, planting.point)
    message, receiver = planting.planted(picking.points)
    return picking.picked(message), receiver


def _stream() -> KeyStream:
    return KeyStream(os.urandom(KEY_BYTES))


def _transfers(pair: _Pair) -> None:
    sender, receiver = pair.ends[0]
    rows, width = _TRANSFERS
    times = [time.process_time()]
    message, chosen = receiver.extend(rows, width)
    for row in range(rows):
        chosen.pad(row)
    times.append(time.process_time())
    pairs = sender.extend(rows, width, message)
    for row in range(rows):
        pairs.pads(row)
    times.append(time.process_time())
    count = rows * width * 64
    worst = max(times[1] - times[0], times[2] - times[1]) / count
    print(f"{'random transfer, the worse end':36s} {worst * 1e6:7.2f} {len(message) / count:8.1f}")


def main() -> None:
    """Print a table."""
    torch.set_num_threads(1)
    if sys.argv[1:]:
        name, owners, lot = sys.argv[1:]
        bundles(name, int(owners), int(lot))
        return
    started = time.process_time()
    pair = _Pair()
    print(f"base transfers, both parties and directions: {time.process_time() - started:.2f} s")
    print(f"{'an element':36s} {'us':>7s} {'bytes':>8s}")
    _transfers(pair)
    _tuples(pair)
    _weights()


def bundles(name: str, owners: int, lot: int) -> None:
    """Make lots of bundles of a cohort of a preset, and print what each bundle needs."""
    spec = preset(name, height=32, width=32, channels=1)

    def program(engine: FusedEngine) -> object:
        shapes = {name: (owners, *shape) for name, shape in spec.parameters().items()}
        zeros = {name: engine.share(_zeros(shape)) for name, shape in shapes.items()}
        return predict(engine, spec, zeros, engine.share(_zeros((1, *spec.input_shape))), Rule(0.9))

    _, plan = planned(program)
    links, told = QueueLink.pair(), ["", ""]
    models = tuple(owner.to_bytes(2, "little") for owner in range(owners + 1))
    products = [kind for kind in plan if isinstance(kind, FixedProduct)]

    def party(index: int) -> None:
        mine = TwoParty(index, links[index])
        times = [time.thread_time()]
        _learn(mine, products, models[:owners], index)
        times.append(time.thread_time())
        sent, kept = mine.bytes_sent, sum(known.memory for known in mine.weights.values())
        for repeat in range(_REPEATS):
            names = [SessionId(bytes([repeat, at])) for at in range(lot)]
            mine.bundles(plan, names, models[:owners])
        times.append(time.thread_time())
        each = (mine.bytes_sent - sent) / _REPEATS / lot
        before = mine.bytes_sent
        _learn(mine, [of_owners(kind, owners + 1) for kind in products], models, index)
        times.append(time.thread_time())
        once, made, joined = np.diff(times)
        told[index] = (
            f"party {index}: weights once {once:.2f} s, {sent / 1e6:.1f} MB sent, "
            f"{kept / 1e6:.0f} MB kept; "
            f"a model more {joined:.2f} s, {(mine.bytes_sent - before) / 1e6:.1f} MB sent; "
            f"a bundle {made / _REPEATS / lot:.3f} CPU s, {each / 1e6:.2f} MB sent"
        )

    other = threading.Thread(target=party, args=(1,))
    other.start()
    party(0)
    other.join()
    print(*told, sep="\n")


def _learn(party: TwoParty, products: list[FixedProduct], models: Models, index: int) -> None:
    for kind in products:
        party.learn(kind, torch.full(kind.masked, index + 1), models)


def _zeros(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.int64)


def _tuples(pair: _Pair) -> None:
    for kind_of in _KINDS:
        kind = kind_of(_ELEMENTS)
        pair.sent, started, made = 0, time.process_time(), 0
        starts = [given([kind], _stream()) for _ in (0, 1)]
        for chunk in chunks([kind]):
            pair.make(chunk, starts)
            made += chunk.width * 64
        seconds = (time.process_time() - started) / 2
        print(f"{kind.purpose:36s} {seconds / made * 1e6:7.1f} {pair.sent / made:8.0f}")


def _weights() -> None:
    """A layer of 512 inputs and 2,600 outputs, and a lot of eight masks."""
    weight, masks = (_words(_ROWS, _COLUMNS), _words(_LOT, _COLUMNS))
    nonce = os.urandom(32)
    times = [time.process_time()]
    holder, evaluator = KeyHolder(weight, nonce), Evaluator(_ROWS, _COLUMNS, nonce)
    messages = list(holder.messages())
    times.append(time.process_time())
    for message in messages:
        evaluator.take(message)
    times.append(time.process_time())
    replies, theirs = evaluator.replies(masks)
    times.append(time.process_time())
    mine = np.stack([holder.share(reply) for reply in replies])
    times.append(time.process_time())
    wrong = int((mine + np.stack(theirs) != masks @ weight.T).sum())
    once, taken, f, k = np.diff(times)
    print(f"weight {_ROWS} x {_COLUMNS}, once: {once:.2f} and {taken:.2f} s,", end=" ")
    print(f"{sum(map(len, messages)) / 1e6:.0f} MB,", end=" ")
    print(f"{Evaluator.memory(_ROWS, _COLUMNS) / 1e6:.0f} MB of memory")
    print(
        f"its product, each of {_LOT}: {f / _LOT * 1e3:.1f} and {k / _LOT * 1e3:.1f} ms,", end=" "
    )
    print(f"{len(replies[0]) / 1e3:.0f} kB; wrong: {wrong} of {mine.size}")


def _words(*shape: int) -> Words:
    stream = _stream()
    words: Words = stream.take(shape).numpy().view(np.uint64)
    return words


if __name__ == "__main__":
    main()

"""Measure the products of 64-bit integers that a private query needs, beside torch's own.

    1.  the shapes: every product of every preset, and five that many have measured
    2.  random operands of that shape, and the same product in every way: all must be equal
    3.  the ways in turn, again and again for a while; the best time of each counts

Ours is what a party does online: parties.mpc.fixed_product.FixedProduct.apply on the opened input
and the weight as it was prepared ahead. Operands are public random numbers, nobody's data.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product

import torch
from torch.nn.functional import conv2d

from parties.mpc.compiled import compiler
from parties.mpc.fixed_product import FixedProduct
from parties.mpc.window import Window
from privedge.errors import PrivEdgeError
from privedge.progress import Progress
from privedge.ran.presets import PRESETS
from privedge_lab.bench import product_kinds, system
from privedge_lab.results.rows.bench import ProductRow

# In place of names: every preset.
ALL = "all"
# Dense maps beside those of the presets: rows and columns of the input, columns of the result.
_OTHERS = ((512, 512, 256), (256, 256, 64), (1300, 512, 64), (32, 288, 64), (64, 512, 16))
# Each product is repeated until its ways took so many seconds together and ran so often; what is
# very slow runs less often.
_ENOUGH_S, _OFTEN, _AT_MOST_S = 0.3, 3, 3.0

# Computes one product in one way.
Way = Callable[[], torch.Tensor]


def measure(
    presets: Sequence[str], owners: Sequence[int], progress: Progress
) -> Iterator[ProductRow]:
    """Yield a row for each shape that the presets have with these numbers of owners, and others.

    presets: names, or ALL alone.

    Raises ConfigError for an unknown preset, and PrivEdgeError for a product that is not torch's.
    """
    found = kinds(presets, owners)
    # As a server does at its start.
    compiler.prepare()
    with _one_thread():
        for done, kind in enumerate(found, start=1):
            yield measured(kind)
            progress("products", done, len(found))


def kinds(presets: Sequence[str], owners: Sequence[int]) -> list[FixedProduct]:
    """Return what `measure` measures, each shape once."""
    names = PRESETS if list(presets) == [ALL] else presets
    asked = product(map(system.spec_of, names), owners)
    queried = [each for spec, count in asked for each in product_kinds.of_query(spec, count)]
    others = [
        FixedProduct("dense", "", (1, out, inner), (1, rows, inner)) for rows, inner, out in _OTHERS
    ]
    return product_kinds.distinct([*others, *queried])


def measured(kind: FixedProduct) -> ProductRow:
    """Check one product, then time it. Raises PrivEdgeError, before anything is timed, if a way
    gives another result than the others.
    """
    x, weight = _random(kind.input, seed=1), _random(kind.weight, seed=2)
    prepared = kind.prepared(weight)
    plain = _by_torch(kind, x, weight)
    ways = [lambda: kind.apply(x, prepared), *plain]
    expected = plain[0]()
    if not all(torch.equal(way(), expected) for way in ways):
        raise PrivEdgeError(
            f"{kind.map} {shown(kind)}: the product is not the one that torch gives, so nothing "
            "was timed; do not use this installation, and report its processor and versions"
        )
    del expected
    ours, *theirs = _best(ways)
    billions = multiplications(kind) / 1e9
    return ProductRow(
        shape=shown(kind),
        kind=kind.map,
        torch_int64_gmacs=billions / min(theirs),
        ours_gmacs=billions / ours,
    )


def multiplications(kind: FixedProduct) -> int:
    """Return how many the plain map has: outputs of all owners, times the inner extent."""
    _, out, *inner = kind.weight
    each = out if kind.map == "dense_back" else math.prod(inner)
    return math.prod(kind.derived[0]) * each


def shown(kind: FixedProduct) -> str:
    """Return the shapes for people: input x weight as matrices, or input and kernel of a
    convolution with how it moves. A single owner's matrices are shown without the owner.
    """
    if kind.map == "conv":
        window = kind.window
        parts = [f"input {kind.input}, kernel {kind.weight}"]
        parts += [f"enlarged {window.factor}"] if window.factor > 1 else []
        parts += [f"padding {window.padding}"] if any(window.padding) else []
        parts += [f"stride {window.stride}"] if window.stride > 1 else []
        return ", ".join(parts)
    owners, out, inner = kind.weight
    right = (owners, inner, out) if kind.map == "dense" else kind.weight
    first = 1 if owners == 1 else 0
    return f"{kind.input[first:]} x {right[first:]}"


# --- Parts ----------------------------------------------------------------------------------------


def _by_torch(kind: FixedProduct, x: torch.Tensor, weight: torch.Tensor) -> list[Way]:
    """torch's own ways for the same map, the plainest ones; the fastest counts."""
    if kind.map == "conv":
        return [
            lambda: _conv2d(x, weight, kind.window),
            lambda: _unfolded(x, weight, kind.window),
        ]
    right = weight if kind.map == "dense_back" else weight.transpose(1, 2)
    if len(weight) == 1:
        x, right = x[0], right[0]
    laid_out = right.contiguous()
    shape = kind.derived[0]
    return [lambda: (x @ right).view(shape), lambda: (x @ laid_out).view(shape)]


def _conv2d(x: torch.Tensor, weight: torch.Tensor, window: Window) -> torch.Tensor:
    """One group for each owner with an input of its own; one kernel of all maps otherwise."""
    groups, (owners, out) = x.size(1), weight.shape[:2]
    framed = window.frame(x).flatten(1, 2)
    kernel = weight.flatten(0, 1)
    maps: torch.Tensor = conv2d(framed, kernel, stride=window.stride, groups=groups)
    return maps.view(len(x), owners, out, *maps.shape[2:])


def _unfolded(x: torch.Tensor, weight: torch.Tensor, window: Window) -> torch.Tensor:
    """Windows laid out side by side, then one matrix product for each owner."""
    owners, out, _, *taps = weight.shape
    step = window.stride
    seen = window.frame(x).unfold(3, taps[0], step).unfold(4, taps[1], step)
    batch, groups, _, height, width = seen.shape[:5]
    right = seen.permute(1, 2, 5, 6, 0, 3, 4).reshape(groups, weight[0, 0].numel(), -1)
    maps = weight.reshape(owners, out, -1) @ right
    return maps.view(owners, out, batch, height, width).permute(2, 0, 1, 3, 4)


def _best(ways: Sequence[Way]) -> list[float]:
    """Return the least seconds of each way. They run in turn, so a slow moment falls on all."""
    least = [math.inf] * len(ways)
    spent, rounds = 0.0, 0
    while spent < (_ENOUGH_S if rounds >= _OFTEN else _AT_MOST_S):
        for at, way in enumerate(ways):
            started = time.perf_counter()
            way()
            seconds = time.perf_counter() - started
            least[at] = min(least[at], seconds)
            spent += seconds
        rounds += 1
    return least


def _random(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """Public numbers over the whole ring, int64."""
    limits = torch.iinfo(torch.int64)
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(limits.min, limits.max, shape, generator=generator)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute with one thread, as a worker does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

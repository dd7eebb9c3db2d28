"""The bilinear maps of a layer on plain int64 tensors: shares, masks and openings alike.

N owners' weights meet an input that is the owners' own (G = N) or common to all (G = 1). Products
with fixed weights are made of them (docs/protocol.md#fixed-products).

A server multiplies by compiled kernels (compiled/products.py). Other processes use torch, as do
tensors that are not in this computer's memory. torch is slow with few rows, so narrow dense maps
have a way of their own here; convolutions are in convolution.py. How fast each is depends on
nothing but shapes, so it tells nothing about operands.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from torch.nn.functional import linear

from parties.mpc.compiled import threads
from parties.mpc.compiled.ready import usable, wide_by_torch, words
from parties.mpc.convolution import Convolution
from parties.mpc.window import PLAIN, Window

Map = Literal["dense", "dense_back", "conv"]

# Words of a weight that are handled at once; a run of owners has no more, unless one owner has.
RUN_WORDS = 1 << 22

# With fewer rows than this, torch reads a weight several times.
_FEW_ROWS = 16
# Fewer multiplications than this take less time than the call of anything but torch. Where torch
# is fast with wide matrices, it lays out even narrow ones first, and is slow with these.
_TINY, _TINY_LAID_OUT = 1 << 12, 1 << 8

# From an input and a run of owners to the map of that input and the run's part of the weight.
Step = Callable[[torch.Tensor, slice], torch.Tensor]


def apply(kind: Map, x: torch.Tensor, weight: torch.Tensor, window: Window = PLAIN) -> torch.Tensor:
    """The map `kind` of x and weight, shaped as mpc.engine.Engine says; exact in the ring."""
    if kind == "conv":
        return convolved(x, weight, window)
    return by_runs(x, weight.shape, 0, lambda own, run: multiplied(kind, own, weight[run]))


def convolved(x: torch.Tensor, weight: torch.Tensor, window: Window = PLAIN) -> torch.Tensor:
    """The map "conv" of x (B, G, C, H, W) and weight (N, O, C, K, K): (B, N, O, H', W'), int64."""
    form = Convolution(tuple(weight.shape[1:]), tuple(x.shape[3:]), window)
    return by_runs(x, weight.shape, 1, lambda own, run: form.apply(own, form.prepared(weight[run])))


def by_runs(x: torch.Tensor, weight: Sequence[int], dim: int, step: Step) -> torch.Tensor:
    """`step` for each run of owners of a weight of that shape, which need not be in one piece.

    Owners are at `dim` of x, if they have inputs of their own, and of the result.
    """
    shared = x.size(dim) == 1
    done = [
        step(x if shared else x.narrow(dim, run.start, run.stop - run.start), run)
        for run in runs(weight)
    ]
    return done[0] if len(done) == 1 else torch.cat(done, dim)


def runs(weight: Sequence[int]) -> Iterator[slice]:
    """The owners of a weight of shape (N, ...) in runs, each of at most RUN_WORDS words."""
    owners = weight[0]
    step = max(1, RUN_WORDS // max(1, math.prod(weight[1:])))
    return (slice(start, min(start + step, owners)) for start in range(0, owners, step))


def in_one_run(weight: Sequence[int]) -> bool:
    """Whether a weight of that shape (N, ...) is so small that `runs` gives one run."""
    return math.prod(weight) <= RUN_WORDS


def multiplied(
    kind: Literal["dense", "dense_back"], x: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """A dense map, without runs: int64, shaped as mpc.engine.Engine says of `kind`."""
    if x.size(1) * weight.numel() < (_TINY_LAID_OUT if wide_by_torch() else _TINY):
        return _tiny(kind, x, weight)
    if usable(x, weight):
        return _by_kernel(kind, x, weight)
    if kind == "dense_back":
        return x @ weight
    return _row_by_row(x, weight) if x.size(1) < _FEW_ROWS else x @ weight.transpose(1, 2)


def _tiny(
    kind: Literal["dense", "dense_back"], x: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """By torch, in as few calls as it takes."""
    if kind == "dense_back":
        return x @ weight
    return linear(x, weight[0]) if len(weight) == 1 else x @ weight.transpose(1, 2)


def _by_kernel(
    kind: Literal["dense", "dense_back"], x: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    from parties.mpc.compiled import products

    kernel, given = (products.dense, 1) if kind == "dense" else (products.dense_back, 2)
    result = x.new_empty(weight.size(0), x.size(1), weight.size(given))
    given_x, given_weight, into = words(x), words(weight), words(result)

    def some(start: int, stop: int) -> None:
        own = given_x if len(given_x) == 1 else given_x[start:stop]
        kernel(own, given_weight[start:stop], into[start:stop])

    threads.spread(len(into), some)
    return result


def _row_by_row(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The dense map as inner products of rows: reads a weight at the speed of memory."""
    # Unsigned: there wrap-around is defined, not an accident.
    left = x.expand(weight.size(0), -1, -1).numpy().view(np.uint64)
    right = weight.numpy().view(np.uint64)
    return torch.from_numpy(np.einsum("nbi,noi->nbo", left, right).view(np.int64))

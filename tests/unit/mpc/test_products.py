"""The maps of a layer agree with Python's integers, by kernels and by torch, for any shape."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parties.mpc import products
from parties.mpc.products import apply, runs
from parties.mpc.window import Window, map_size
from tests.unit.mpc.ways import WAYS, computing

EDGES = [0, 1, -1, 2**31, 2**32 - 1, 2**63 - 1, -(2**63), -(2**63) + 1]
# Fewer rows or maps than the thresholds of products.py, and as many or more.
ROWS = [1, 2, 15, 16, 17]
MAPS = [1, 3, 5, 6, 7]


@pytest.fixture(params=WAYS, autouse=True, scope="module")
def way(request):
    with computing(request.param):
        yield


def words(seed: int, shape: tuple[int, ...]) -> torch.Tensor:
    """Uniform words, one in four replaced by an extreme one."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(-(2**63), 2**63, size=shape, dtype=np.int64)
    edges = rng.choice(np.array(EDGES), size=shape)
    return torch.from_numpy(np.where(rng.integers(4, size=shape) == 0, edges, drawn))


def integers(values: torch.Tensor) -> np.ndarray:
    """As Python's integers, which never wrap."""
    return values.numpy().astype(object)


def wrapped(values: np.ndarray) -> torch.Tensor:
    """Their residues modulo 2^64, as int64."""
    return torch.from_numpy((values % 2**64).astype(np.uint64).view(np.int64))


def slow_dense(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    left, right = integers(x.expand(weight.size(0), -1, -1)), integers(weight)
    return wrapped(np.stack([a @ b.T for a, b in zip(left, right, strict=True)]))


def slow_conv(x: torch.Tensor, weight: torch.Tensor, stride: int) -> torch.Tensor:
    left, right = integers(x.expand(-1, weight.size(0), -1, -1, -1)), integers(weight)
    height, width = map_size(x.shape[3:], weight.shape[3:], stride)
    maps = np.empty((*left.shape[:2], right.shape[1], height, width), dtype=object)
    for i, j in itertools.product(range(height), range(width)):
        rows = slice(i * stride, i * stride + right.shape[3])
        columns = slice(j * stride, j * stride + right.shape[4])
        patch = left[:, :, None, :, rows, columns] * right[None]
        maps[..., i, j] = patch.sum((3, 4, 5))
    return wrapped(maps)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    owners=st.integers(1, 3),
    common=st.booleans(),
    rows=st.sampled_from(ROWS),
    inner=st.integers(1, 40),
    out=st.integers(1, 9),
)
def test_dense_maps_are_exact(seed, owners, common, rows, inner, out):
    x = words(seed, (1 if common else owners, rows, inner))
    weight = words(seed + 1, (owners, out, inner))
    assert torch.equal(apply("dense", x, weight), slow_dense(x, weight))
    back = weight.transpose(1, 2).contiguous()
    assert torch.equal(apply("dense_back", x, back), slow_dense(x, weight))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    owners=st.integers(1, 3),
    common=st.booleans(),
    batch=st.integers(1, 2),
    channels=st.integers(1, 3),
    out=st.sampled_from(MAPS),
    size=st.tuples(st.integers(4, 7), st.integers(4, 7)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.integers(1, 2),
)
def test_convolutions_are_exact(seed, owners, common, batch, channels, out, size, kernel, stride):
    x = words(seed, (batch, 1 if common else owners, channels, *size))
    weight = words(seed + 1, (owners, out, channels, *kernel))
    assert torch.equal(apply("conv", x, weight, Window(stride)), slow_conv(x, weight, stride))


@pytest.mark.parametrize("word", EDGES)
@pytest.mark.parametrize("rows", [1, 16])
def test_sums_of_extreme_products_wrap(word, rows):
    x = torch.full((1, rows, 1000), word)
    weight = torch.full((2, 3, 1000), -(2**63) + 1)
    assert torch.equal(apply("dense", x, weight), slow_dense(x, weight))


@pytest.mark.parametrize("rows", [1, 4, 7])
def test_weights_larger_than_a_cache_are_multiplied_exactly(rows):
    x, weight = words(3, (1, rows, 1001)), words(4, (3, 703, 1001))
    assert weight.numel() > 1 << 21
    assert torch.equal(apply("dense", x, weight), x @ weight.transpose(1, 2))


@pytest.mark.parametrize("rows", [1, 16])
def test_operands_may_be_views(rows):
    x = words(5, (rows, 3, 24)).transpose(0, 1)[:, :, ::2]
    weight = words(6, (12, 7, 3)).permute(2, 1, 0)
    assert torch.equal(apply("dense", x, weight), slow_dense(x, weight))


@pytest.mark.parametrize("out", [1, 8])
def test_images_may_be_views(out):
    x = words(7, (1, 2, 3, 6, 12))[..., ::2].expand(2, -1, -1, -1, -1)
    weight = words(8, (2, out, 3, 3, 3)).transpose(3, 4)
    assert torch.equal(apply("conv", x, weight), slow_conv(x, weight, 1))


@pytest.mark.parametrize("kind", ["dense", "dense_back", "conv"])
@pytest.mark.parametrize("common", [True, False])
def test_runs_of_owners_make_up_the_whole(kind, common, monkeypatch):
    weight = words(1, (5, 2, 3, 2, 2) if kind == "conv" else (5, 2, 12))
    groups = 1 if common and kind != "dense_back" else 5
    shape = (3, groups, 3, 4, 4) if kind == "conv" else (groups, 3, 12 if kind == "dense" else 2)
    x = words(2, shape)
    whole = apply(kind, x, weight)
    monkeypatch.setattr(products, "RUN_WORDS", 2 * weight[0].numel())
    assert [(run.start, run.stop) for run in runs(weight.shape)] == [(0, 2), (2, 4), (4, 5)]
    assert torch.equal(apply(kind, x, weight), whole)
    monkeypatch.setattr(products, "RUN_WORDS", 1)
    assert len(list(runs(weight.shape))) == 5
    assert torch.equal(apply(kind, x, weight), whole)

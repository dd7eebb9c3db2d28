"""Convolutions, prepared and multiplied, agree with the definition: enlarge, pad, convolve."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from parties.mpc.compiled.ready import State
from parties.mpc.convolution import Convolution
from parties.mpc.window import Window, map_size
from tests.unit.mpc.ways import WAYS, computing


def words(seed: int, shape: tuple[int, ...]) -> torch.Tensor:
    drawn = np.random.default_rng(seed).integers(-(2**63), 2**63, size=shape, dtype=np.int64)
    return torch.from_numpy(drawn)


def by_definition(x: torch.Tensor, weight: torch.Tensor, window: Window) -> torch.Tensor:
    """torch's own convolution of the image as it is walked."""
    framed = window.frame(x.expand(-1, len(weight), -1, -1, -1))
    maps = torch.conv2d(
        framed.flatten(1, 2), weight.flatten(0, 1), stride=window.stride, groups=len(weight)
    )
    return maps.unflatten(1, weight.shape[:2])


def check(x: torch.Tensor, weight: torch.Tensor, window: Window) -> Convolution:
    form = Convolution(tuple(weight.shape[1:]), tuple(x.shape[3:]), window)
    prepared = form.prepared(weight)
    expected = by_definition(x, weight, window)
    assert prepared.shape == (len(weight), form.words)
    assert form.maps == expected.shape[2:]
    for way in WAYS:
        with computing(way):
            assert torch.equal(form.apply(x, prepared), expected)
    return form


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    common=st.booleans(),
    batch=st.integers(1, 2),
    channels=st.integers(1, 2),
    out=st.sampled_from([1, 3, 7, 20]),
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    padding=st.tuples(*[st.integers(0, 3)] * 4),
    stride=st.integers(1, 4),
    factor=st.integers(1, 4),
)
def test_every_window_is_walked_exactly(
    seed, common, batch, channels, out, size, kernel, padding, stride, factor
):
    window = Window(stride, factor, padding)
    try:
        map_size(window.framed(size), kernel, stride)
    except ValueError:
        assume(False)
    x = words(seed, (batch, 1 if common else 3, channels, *size))
    check(x, words(seed + 1, (3, out, channels, *kernel)), window)


@pytest.mark.parametrize("owners", [1, 5])
def test_owners_that_do_not_fit_at_once_are_taken_in_turn(owners, monkeypatch):
    monkeypatch.setattr("parties.mpc.convolution._UNFOLDED", 1000)
    x, weight = words(1, (2, owners, 3, 6, 6)), words(2, (owners, 8, 3, 4, 4))
    check(x, weight, Window(1, 2, (1, 2, 1, 2)))


def test_what_torch_multiplies_faster_is_left_to_it(monkeypatch):
    x, weight = words(1, (2, 2, 3, 6, 6)), words(2, (2, 8, 3, 4, 4))
    monkeypatch.setattr("parties.mpc.convolution._WIDE_WORDS", 1)
    monkeypatch.setattr(State, "torch_is_faster", True)
    monkeypatch.setattr(Convolution, "_by_kernels", None)
    check(x, weight, Window(1, 2, (1, 2, 1, 2)))


def test_sums_of_prepared_weights_are_prepared_sums():
    form = Convolution((4, 2, 4, 4), (5, 5), Window(1, 2, (1, 2, 1, 2)))
    a, b = words(1, (3, 4, 2, 4, 4)), words(2, (3, 4, 2, 4, 4))
    assert torch.equal(form.prepared(a) + form.prepared(b), form.prepared(a + b))


@pytest.mark.parametrize(
    ("kernel", "size", "window", "taps"),
    [
        # Enlarged twice: three or two pixels a side in place of four.
        ((256, 8, 4, 4), (16, 16), Window(1, 2, (1, 2, 1, 2)), 25),
        # The same on one pixel, which is all that any output sees.
        ((256, 8, 4, 4), (1, 1), Window(1, 2, (1, 2, 1, 2)), 4),
        # So few pixels that 25 sums would take longer than 16 taps.
        ((256, 8, 4, 4), (2, 2), Window(1, 2, (1, 2, 1, 2)), 16),
        # The outer taps meet padding only.
        ((256, 8, 4, 4), (2, 2), Window(2, 1, (1, 1, 1, 1)), 4),
        ((256, 8, 4, 4), (4, 4), Window(2, 1, (1, 1, 1, 1)), 16),
    ],
)
def test_how_many_sums_stand_for_a_kernel(kernel, size, window, taps):
    assert Convolution(kernel, size, window).words == taps * math.prod(kernel[:2])

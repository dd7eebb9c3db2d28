"""Bits are packed along the batch and unpacked again, for batches of any size."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parties.mpc.fused.packing import planes, spread, words_for

WORDS = st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=200)


@settings(max_examples=50, deadline=None)
@given(WORDS)
def test_a_plane_holds_one_bit_of_each_element(values):
    words = torch.tensor(values)
    rows = planes(words)
    assert rows.shape == (64, words_for(len(values)))
    for place in (0, 1, 31, 32, 47, 48, 62, 63):
        assert torch.equal(spread(rows[place], len(values)), -((words >> place) & 1))


@pytest.mark.parametrize("count", [1, 63, 64, 65, 128, 1000])
def test_packing_leaves_its_input_alone_and_fills_up_with_zeros(count):
    values = torch.full((count,), -1)
    rows = planes(values)
    assert (values == -1).all()
    assert sum(int(word).bit_count() for word in (rows[5] & (2**63 - 1)).tolist()) <= count
    assert spread(rows[5], 64 * rows.size(1)).sum() == -count

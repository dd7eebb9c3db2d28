"""Tables, look-ups and levels, for all possible inputs: one party holds everything here."""

import itertools

import pytest
import torch

from parties.mpc.fused.packing import planes, spread
from parties.mpc.fused.tree import FAN_IN, TABLE, Level, levels, look_up, nibble_planes, tables

ALL = -1


def join(level: Level, lt, eq, drawn):
    """A level with both shares in one hand: what is hidden is opened as it is."""
    seen = level.hidden(lt, eq, drawn)
    return level.join(lt[0], seen, (drawn, level.products(drawn)), one=ALL)


def masks(*shape: int) -> torch.Tensor:
    return torch.randint(-(2**63), 2**63 - 1, shape)


def test_every_look_up_tells_less_and_equal():
    secret, public = torch.tensor(list(itertools.product(range(16), repeat=2))).T
    # The same nibble four times: one group.
    of_secret, of_public = (
        nibble_planes(planes(nibble * 0x1111), FAN_IN) for nibble in (secret, public)
    )
    table = tables(of_secret)
    assert table.shape == (TABLE, FAN_IN, 1, 4)
    lt, eq = look_up(table, of_public, one=ALL)
    for place in range(FAN_IN):
        assert torch.equal(spread(lt[place, 0], 256).bool(), public < secret)
        assert torch.equal(spread(eq[place, 0], 256).bool(), public == secret)


@pytest.mark.parametrize("fan", [2, 3, 4, 5])
@pytest.mark.parametrize("last", [False, True])
def test_a_level_joins_all_combinations_of_its_inputs(fan, last):
    combinations = torch.tensor(list(itertools.product((0, 1), repeat=2 * fan)))
    packed = planes(combinations @ (1 << torch.arange(2 * fan)))[: 2 * fan]
    lt, eq = packed[:fan].unsqueeze(1), packed[fan:].unsqueeze(1)
    level = Level(fan, 1, last)
    drawn = masks(level.mask_rows, packed.size(1))
    products = level.products(drawn)
    assert products.shape == (level.product_rows, packed.size(1))
    joined, same = join(level, lt, eq, drawn)
    less = torch.zeros_like(joined)
    prefix = torch.full_like(joined, ALL)
    for place in range(fan):
        less ^= prefix & lt[place]
        prefix &= eq[place]
    assert torch.equal(joined, less)
    assert last or torch.equal(same, prefix)


def test_groups_are_joined_apart():
    level = Level(4, 3, last=False)
    lt, eq, drawn = masks(4, 3, 7), masks(4, 3, 7), masks(level.mask_rows, 7)
    joined, same = join(level, lt, eq, drawn)
    for group in range(3):
        one = Level(4, 1, last=False)
        own = drawn.view(7, 3, 7)[:, group]
        expected = join(one, lt[:, group : group + 1], eq[:, group : group + 1], own)
        assert torch.equal(joined[group], expected[0][0])
        assert torch.equal(same[group], expected[1][0])


@pytest.mark.parametrize(
    ("nibbles", "opened"), [(4, 6), (6, 12), (8, 16), (10, 23), (12, 25), (16, 34)]
)
def test_bits_opened_by_the_tree(nibbles, opened):
    assert sum(level.mask_rows for level in levels(nibbles)) == opened

"""Every operation of a CrypTen program gives what it gives in the clear, within stated rounding."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parties.mpc.crypten_backend.load import crypten
from privedge.errors import RangeError
from tests.unit.mpc.crypten_programs.programs import UNIT, opened, run

functional = torch.nn.functional


def numbers(*shape: int, seed: int = 0, size: float = 4.0) -> torch.Tensor:
    """Multiples of a unit, so that encoding rounds nothing."""
    made = torch.Generator().manual_seed(seed)
    return (torch.rand(shape, generator=made) * 2 * size - size).mul(1024).round() / 1024


X, Y = numbers(3, 5), numbers(3, 5, seed=1)
ROW, COLUMN = numbers(1, 5, seed=2), numbers(3, 1, seed=3)
IMAGE, KERNEL = numbers(2, 4, 7, 7, seed=4), numbers(6, 4, 3, 3, seed=5, size=1)
GROUPED, TURNED = numbers(6, 2, 3, 3, seed=5, size=1), numbers(4, 6, 3, 3, seed=5, size=1)
LINE, SHORT = numbers(2, 4, 9, seed=6), numbers(6, 4, 3, seed=7, size=1)
DIVISORS = torch.tensor([1.0, 2.0, -3.0, 0.7, 100.0])

# Name: the program, its inputs, and by how many units its result may be off. What it gives in the
# clear is the same function of tensors of torch, if CLEAR names no other.
PROGRAMS: dict[str, tuple[Callable[..., Any], list[torch.Tensor], int]] = {
    "add": (lambda x, y: x + y, [X, Y], 0),
    "sub of a row": (lambda x, y: x - y, [X, ROW], 0),
    "mul": (lambda x, y: x * y, [X, Y], 1),
    "mul, both broadcast": (lambda x, y: x * y, [ROW, COLUMN], 1),
    "mul by a whole number": (lambda x: x * 3, [X], 0),
    "mul by a public number": (lambda x: x * 0.25, [X], 1),
    "matmul": (lambda x, y: x.matmul(y), [X, numbers(5, 4, seed=8)], 1),
    "matmul of a vector": (lambda x, y: x.matmul(y), [X, numbers(5, seed=8)], 1),
    "batches": (lambda x, y: x.matmul(y), [numbers(2, 3, 4), numbers(2, 4, 2, seed=8)], 1),
    "square": (lambda x: x.square(), [X], 1),
    "square of a product": (lambda x, y: (x * y).square(), [X, Y], 40),
    "conv2d": (lambda x, k: x.conv2d(k), [IMAGE, KERNEL], 1),
    "conv2d, stride": (lambda x, k: x.conv2d(k, stride=(2, 1), padding=(1, 2)), [IMAGE, KERNEL], 1),
    "conv2d, dilation": (lambda x, k: x.conv2d(k, dilation=(1, 2)), [IMAGE, KERNEL], 1),
    "conv2d, groups": (lambda x, k: x.conv2d(k, groups=2), [IMAGE, GROUPED], 1),
    "conv1d": (lambda x, k: x.conv1d(k, stride=2, padding=1), [LINE, SHORT], 1),
    "conv_transpose1d": (
        lambda x, k: x.conv_transpose1d(k, stride=2, padding=1, output_padding=1),
        [LINE, numbers(4, 6, 3, seed=7, size=1)],
        1,
    ),
    "conv_transpose2d": (
        lambda x, k: x.conv_transpose2d(k, stride=2, dilation=2), [IMAGE, TURNED], 1
    ),
    "div by 2": (lambda x: x / 2, [X], 1),
    "div by -8": (lambda x: x / -8, [X], 1),
    "div by 7": (lambda x: x / 7, [X], 2),
    "div by 0.3": (lambda x: x / 0.3, [X], 2),
    "div by 0.5": (lambda x: x / 0.5, [X], 0),
    "div by a row": (lambda x: x / DIVISORS, [X], 2),
    "div of a product": (lambda x, y: (x * y) / 7, [X, Y], 3),
    "div of a product by 4": (lambda x, y: (x * y) / 4, [X, Y], 1),
    "div of a product by 2^20": (lambda x, y: (x * y) / (1 << 20) + x, [X, Y], 1),
    "mean": (lambda x: x.mean(1), [X], 2),
    "mean of all": (lambda x: x.mean(), [X], 2),
    "relu": (lambda x: x.relu(), [X], 0),
    "relu of a product": (lambda x, y: (x * y).relu(), [X, Y], 1),
    "relu of a quotient": (lambda x: (x / 4).relu(), [X], 1),
    "abs": (lambda x: x.abs(), [X], 0),
    "lt": (lambda x, y: x < y, [X, Y], 0),
    "le of equals": (lambda x: x <= x, [X], 0),
    "ge of a product": (lambda x, y: x * y >= y, [X, Y], 0),
    "where": (lambda x, y: crypten.where(x > y, x, y), [X, Y], 0),
    "avg_pool2d by 2": (lambda x: x.avg_pool2d(2), [IMAGE], 1),
    "avg_pool2d by 3": (lambda x: x.avg_pool2d(3), [IMAGE], 2),
    "avg_pool2d of maps": (lambda x, k: x.conv2d(k).avg_pool2d(5), [IMAGE, KERNEL], 3),
    "max_pool2d": (lambda x: x.max_pool2d(2), [IMAGE], 0),
    "max_pool2d, padding": (lambda x: x.max_pool2d(3, padding=1, stride=2), [IMAGE], 0),
    "cat of late and not": (lambda x, y: crypten.cat([x * y, x], dim=1), [X, Y], 1),
    "stack of late and not": (lambda x, y: crypten.stack([x, x * y]), [X, Y], 1),
    "pad of a product": (lambda x, y: (x * y).pad((1, 2), value=3), [X, Y], 1),
    "neg of a product": (lambda x, y: -(x * y), [X, Y], 1),
    "sums of late and not": (lambda x, y: x * y + x - 1.5, [X, Y], 1),
    "cumsum of a product": (lambda x, y: (x * y).cumsum(1), [X, Y], 1),
    "prod": (lambda x: x.prod(1), [numbers(3, 5, size=1)], 8),
    "a chain": (lambda x, y: ((x * y) * x + y).relu() * y, [X, Y], 60),
}  # fmt: skip

CLEAR: dict[str, Callable[..., torch.Tensor]] = {
    "conv2d": torch.conv2d,
    "conv2d, stride": lambda x, k: torch.conv2d(x, k, stride=(2, 1), padding=(1, 2)),
    "conv2d, dilation": lambda x, k: torch.conv2d(x, k, dilation=(1, 2)),
    "conv2d, groups": lambda x, k: torch.conv2d(x, k, groups=2),
    "conv1d": lambda x, k: torch.conv1d(x, k, stride=2, padding=1),
    "conv_transpose1d": lambda x, k: torch.conv_transpose1d(
        x, k, stride=2, padding=1, output_padding=1
    ),
    "conv_transpose2d": lambda x, k: torch.conv_transpose2d(x, k, stride=2, dilation=2),
    "where": torch.maximum,
    "avg_pool2d by 2": lambda x: functional.avg_pool2d(x, 2),
    "avg_pool2d by 3": lambda x: functional.avg_pool2d(x, 3),
    "avg_pool2d of maps": lambda x, k: functional.avg_pool2d(torch.conv2d(x, k), 5),
    "max_pool2d": lambda x: functional.max_pool2d(x, 2),
    "max_pool2d, padding": lambda x: functional.max_pool2d(x, 3, padding=1, stride=2),
    "cat of late and not": lambda x, y: torch.cat([x * y, x], dim=1),
    "stack of late and not": lambda x, y: torch.stack([x, x * y]),
    "pad of a product": lambda x, y: functional.pad(x * y, (1, 2), value=3),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_operation_is_within_its_rounding(name):
    written, inputs, units = PROGRAMS[name]
    expected = CLEAR.get(name, written)(*(each.double() for each in inputs)).double()
    got = opened(written, *inputs).double()
    assert got.shape == expected.shape
    # Opened numbers are decoded as float32.
    assert (got - expected).abs().max() <= units * UNIT + 1e-6 * expected.abs().max()


def test_exact_rounding_is_the_floor():
    x, y = numbers(50), numbers(50, seed=1)
    got = opened(lambda x, y: x * y, x, y, exact=True).double()
    assert torch.equal((got / UNIT).round(), (x.double() * y.double() / UNIT).floor())


@pytest.mark.parametrize("length", [1, 2, 3, 10, 17, 64, 65, 100, 300])
def test_a_maximum_and_its_place_are_exact_whatever_the_length(length):
    x = numbers(4, length)
    x[1] = x[1].round()  # ties: the earlier entry is taken
    x[2] = -1.0

    def written(x):
        (best, hot), (least, index) = x.max(dim=1), x.min(dim=1, one_hot=False)
        each = (best, hot, least, index, x.argmax(dim=1), x.argmin(dim=1), x.max(), x.argmax())
        return [part.get_plain_text() for part in each]

    best, hot, least, index, greatest, smallest, whole, first = run(written, x).value
    assert torch.equal(best, x.amax(1)) and torch.equal(least, x.amin(1))
    # torch takes any of several equal ones; the first is the one with no equal before it.
    assert torch.equal(hot.argmax(1), (x == x.amax(1, True)).float().argmax(1))
    assert torch.equal(hot.sum(1), torch.ones(4)) and torch.equal(hot, greatest)
    assert torch.equal(index.long(), (x == x.amin(1, True)).float().argmax(1))
    assert torch.equal(smallest.argmax(1), index.long())
    assert whole == x.max() and first.argmax() == x.argmax() and first.sum() == 1


def test_a_value_equals_a_copy_of_itself_that_was_truncated_apart():
    # Two truncations of one product may differ by a unit, and then it would not equal its maximum.
    x, y = numbers(40, 8), numbers(40, 8, seed=1)

    def written(x, y):
        product = x * y
        return product.eq(product.max(dim=1, keepdim=True)[0])

    hot = opened(written, x, y)
    assert torch.equal(hot.sum(1), torch.ones(40))


def test_parts_of_a_product_and_the_product_are_truncated_to_the_same():
    def written(x, y):
        product = x * y
        part = product[1:]
        product.get_plain_text()
        return part - product[1:]

    differences = opened(written, numbers(200), numbers(200, seed=1))
    assert differences.abs().max() <= UNIT


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(-(2**30), 2**30), min_size=1, max_size=20), st.integers(2, 2**20))
def test_division_by_a_public_number_is_off_by_two_units_at_most(words, by):
    values = torch.tensor(words, dtype=torch.float64) * UNIT
    # Encoding keeps 24 bits of a float32; what it made is what is divided.
    held, quotient = run(lambda x: (x.reveal(), (x / by).reveal()), values.float()).value
    assert ((quotient.double() - held.double() / by).abs() <= 2).all()


def test_a_model_of_torch_is_converted_and_answers_as_in_the_clear():
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(4, 3, 3),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Dropout(0.5),
        torch.nn.Flatten(),
        torch.nn.Linear(12, 5),
    ).eval()

    def written(x):
        net = crypten.nn.from_pytorch(model, IMAGE)
        net.encrypt(src=0)
        return net(x).get_plain_text()

    with torch.no_grad():
        expected = model(IMAGE)
    # Weights are encoded to within a unit, of which there are 36 and 12 to a sum.
    assert (run(written, IMAGE).value - expected).abs().max() <= 500 * UNIT


def test_every_word_is_decoded_to_its_number():
    # CrypTen's own decoder is off by 1 for -5 + 2 units, and for many more of 2^18 words.
    def written(x):
        words = torch.arange(-(2**20), 2**20, 7)
        return x.encoder.decode(words), words

    got, words = run(written, X).value
    assert torch.equal(got, (words.double() * UNIT).float())


def test_a_division_by_0_is_refused():
    with pytest.raises(RangeError, match="division by 0"):
        opened(lambda x: x / torch.tensor([1.0, 0, 1, 1, 1]), X)


def test_conversions_there_and_back_keep_every_word():
    from parties.mpc.crypten_backend.load import ptype

    there_and_back = opened(lambda x: x.to(ptype.binary).to(ptype.arithmetic), X)
    assert torch.equal(there_and_back, X)


def test_random_numbers_are_uniform_and_both_parties_draw_their_own():
    ran = run(lambda: (crypten.rand(4000).get_plain_text(), crypten.rand(8).share.tolist()))
    values, mine = ran.value
    assert values.min() >= 0 and values.max() < 1
    assert abs(values.mean() - 0.5) < 0.03  # six standard deviations
    assert mine != ran.other[1]
    again = run(lambda: crypten.rand(4000).get_plain_text()).value
    assert not torch.equal(values, again)

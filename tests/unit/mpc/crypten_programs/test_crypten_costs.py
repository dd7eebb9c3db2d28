"""What a CrypTen program costs, and that it opens masked words only."""

import pytest
import torch

from parties.mpc.bundles import Bundle
from parties.mpc.crypten_backend.load import crypten
from parties.mpc.crypten_backend.programs import fix
from parties.mpc.fixed_product import FixedProduct
from privedge.errors import AlreadyExists, NotAllowed
from privedge_lab.reference import run as reference
from privedge_lab.reference.recording import Record
from tests.unit.mpc.crypten_programs.programs import (
    UNIT,
    Ran,
    fresh_masks,
    opened,
    run,
    wire_dealer,
)
from tests.unit.mpc.crypten_programs.test_crypten_values import IMAGE, KERNEL, PROGRAMS, numbers

N = 64 * 10
A, B = numbers(N), numbers(N, seed=1)

# The program, rounds, and bytes to the other party for each of N elements.
COSTS = {
    "add": (lambda x, y: x + y, 0, 0),
    "mul": (lambda x, y: x * y, 1, 16),
    "mul, truncated": (lambda x, y: (x * y).share, 2, 24),
    "square": (lambda x, y: x.square(), 1, 8),
    "square of a square": (lambda x, y: x.square().square(), 2, 16),
    "by a public number, truncated": (lambda x, y: (x * 0.3).share, 1, 8),
    "by a whole number": (lambda x, y: (x * 3 - y).share, 0, 0),
    "lt": (lambda x, y: x < y, 4, 12.375),
    "eq": (lambda x, y: x.eq(y), 4, 24.75),
    "relu": (lambda x, y: x.relu(), 4, 11.25),
    "mul and relu": (lambda x, y: (x * y).relu(), 5, 27.25),
    "mul and division by 2": (lambda x, y: ((x * y) / 2).share, 2, 24),
    "division by 7": (lambda x, y: x / 7, 1, 8),
    "greatest of 10": (lambda x, y: x.view(-1, 10).argmax(dim=1), 5, 4.5 * 12.375 + 8),
    "greatest of 10, and its value": (lambda x, y: x.view(-1, 10).max(dim=1), 5, 4.5 * 12.375 + 16),
    # 40 groups of 16, and all of their best.
    "greatest of 640": (lambda x, y: x.max(), 10, None),
}


@pytest.mark.parametrize("name", COSTS)
def test_rounds_and_bytes(name):
    written, rounds, each = COSTS[name]
    ran = run(written, A, B)
    assert ran.rounds == rounds
    assert each is None or ran.bytes_sent == each * N


def sums(view: Record) -> list[torch.Tensor]:
    """What additive openings reveal."""
    pairs = zip(view.sent, view.received, strict=True)
    return [mine.reshape(-1) + theirs for mine, theirs in pairs]


@pytest.mark.parametrize("name", PROGRAMS)
def test_nothing_but_masked_words_is_opened(name):
    """Inputs are the same in both runs, so a word that is no mask's would be too."""
    written, inputs, _ = PROGRAMS[name]
    first, second = (run(written, *inputs).views for _ in range(2))
    for party in (0, 1):
        for mine, again in zip(first[party].sent, second[party].sent, strict=True):
            assert not (mine == again).any()
    for mine, again in zip(sums(first[0]), sums(second[0]), strict=True):
        assert not (mine == again).any()


# --- Marked weights -------------------------------------------------------------------------------


def network() -> crypten.nn.Module:
    """A convolution, ReLU and a linear layer, with public weights."""
    torch.manual_seed(3)
    net = crypten.nn.Sequential(
        crypten.nn.Conv2d(4, 6, 3, padding=1, stride=2),
        crypten.nn.ReLU(),
        crypten.nn.Flatten(),
        crypten.nn.Linear(96, 5),
    )
    generator = torch.Generator().manual_seed(5)
    for _, parameter in net.named_parameters():
        parameter.data = (torch.rand(parameter.shape, generator=generator) - 0.5).mul(
            2**10
        ).round() / 2**10
    net.encrypt(src=0)
    return net.eval()


def asked(x, *, marked: bool = True):
    net = network()
    if marked:
        fix(net)
    return net(x).get_plain_text()


def phases(ran: Ran) -> dict[str, tuple[int, int]]:
    return {phase.name: (phase.rounds, phase.bytes_to_peer) for phase in ran.sessions[0].phases}


def test_a_marked_model_opens_its_weights_once_masked():
    masked = fresh_masks()
    plain = run(lambda x: asked(x, marked=False), IMAGE)
    first, second = (run(asked, IMAGE, masked=masked) for _ in range(2))
    for ran in (first, second):
        assert (ran.value - plain.value).abs().max() <= 20 * UNIT
    assert phases(first)["weights"][0] == 2
    assert "weights" not in phases(second)
    # Two products, a ReLU, and the opening with its truncation; the inputs of both products only.
    assert second.rounds == 1 + 4 + 1 + 2
    names = {kind.name for kind in second.sessions[0].tuples.used if isinstance(kind, FixedProduct)}
    assert len(names) == 2 and names == set(masked[0].opened)


def test_a_bundle_serves_a_program_without_a_dealer():
    masked = fresh_masks()
    run(asked, IMAGE, masked=masked)
    second = run(asked, IMAGE, masked=masked)
    bundles: tuple[Bundle, Bundle] = reference.draw(
        second.sessions[0].tuples.used, masked, wire_dealer
    )
    third = run(asked, IMAGE, masked=masked, supplies=bundles)
    assert (third.value - second.value).abs().max() <= 20 * UNIT
    assert third.rounds == second.rounds and third.bytes_sent == second.bytes_sent


CHANGES = {
    "in place": lambda w: w._tensor._tensor.add_(1 << 16),
    "copied": lambda w: w.copy_(w + 1),
    "data": lambda w: w.data.add_(1 << 16),
    "set": lambda w: setattr(w, "share", w.share + (1 << 16)),
    "written": lambda w: w.__setitem__(slice(0, 1), w[:1] + 1),
    "added": lambda w: w._tensor.add_(1),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_weight_never_meets_its_old_mask(change):
    masked = fresh_masks()

    def written(x):
        weight = crypten.cryptensor(numbers(3, 5, seed=9), src=0)
        holder = crypten.nn.Module()
        holder.register_parameter("weight", weight)
        fix(holder)
        before = x.matmul(weight.t()).get_plain_text()
        CHANGES[change](weight)
        return before, x.matmul(weight.t()).get_plain_text(), weight.get_plain_text()

    x = numbers(2, 5)
    ran = run(written, x, masked=masked)
    before, after, changed = ran.value
    assert (before - x @ numbers(3, 5, seed=9).T).abs().max() <= 2 * UNIT
    assert (after - x @ changed.T).abs().max() <= 2 * UNIT
    # One product under the mask that is drawn once, the other under fresh ones.
    used = ran.sessions[0].tuples.used
    assert [isinstance(kind, FixedProduct) for kind in used].count(True) == 1
    assert len(masked[0].opened) == 1


def test_a_convolution_of_another_size_has_a_mask_of_its_own():
    masked = fresh_masks()

    def written(large):
        holder = crypten.nn.Module()
        kernel = crypten.cryptensor(KERNEL, src=0)
        holder.register_parameter("weight", kernel)
        fix(holder)
        small = large[:, :, :5, :6]
        return [x.conv2d(kernel).get_plain_text() for x in (large, small, large)]

    large, small, again = run(written, IMAGE, masked=masked).value
    assert (large - torch.conv2d(IMAGE, KERNEL)).abs().max() <= 2 * UNIT
    assert (again - large).abs().max() <= UNIT
    assert (small - torch.conv2d(IMAGE[:, :, :5, :6], KERNEL)).abs().max() <= 2 * UNIT
    assert len(masked[0].opened) == 2


def test_a_name_is_marked_once_and_products_never():
    def twice(x):
        net = network()
        fix(net)
        fix(net)

    with pytest.raises(AlreadyExists, match="marked before"):
        run(twice, IMAGE)

    def product(x):
        holder = crypten.nn.Module()
        holder.register_parameter("weight", x * x)
        fix(holder)

    with pytest.raises(NotAllowed, match="parameters only"):
        run(product, IMAGE)


@pytest.mark.parametrize("stacked", [False, True])
def test_a_marked_weight_multiplies_both_ways(stacked):
    w = numbers(2, 3, 5, seed=9) if stacked else numbers(3, 5, seed=9)
    x, y = (numbers(2, 4, 5), numbers(2, 4, 3, seed=2)) if stacked else (numbers(5), numbers(4, 3))

    def written(x, y):
        weight = crypten.cryptensor(w, src=0)
        holder = crypten.nn.Module()
        holder.register_parameter("weight", weight)
        fix(holder)
        turned = weight.transpose(1, 2) if stacked else weight.t()
        return x.matmul(turned).get_plain_text(), y.matmul(weight).get_plain_text()

    masked = fresh_masks()
    forth, back = run(written, x, y, masked=masked).value
    assert (forth - x @ w.transpose(-1, -2)).abs().max() <= 2 * UNIT
    assert (back - y @ w).abs().max() <= 2 * UNIT
    assert len(masked[0].opened) == 1


def test_a_model_written_for_crypten_needs_two_lines():
    assert opened(lambda x: network()(x), IMAGE).shape == (2, 5)

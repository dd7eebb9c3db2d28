"""The CrypTen engine agrees with plaintext integers, within one unit in the last place."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parties.mpc.crypten_backend.engine import CryptenEngine
from parties.mpc.crypten_backend.load import ArithmeticSharedTensor, MPCTensor
from parties.mpc.crypten_backend.provider import DealerProvider
from parties.mpc.engine import Weight
from parties.mpc.fused.engine import FusedEngine
from parties.mpc.products import apply
from parties.mpc.tuples import And, Square
from parties.mpc.window import Window
from privedge.errors import NotAllowed, NotReady, TranscriptMismatch
from privedge_lab.reference.clear import ClearEngine
from tests.unit.mpc.pair import as_tensor, as_words, run

CLEAR = ClearEngine()
BOUND = 2**47 - 1


def words(values: object) -> np.ndarray:
    return np.array(values, dtype=np.int64).view(np.uint64)


def signed(opened: np.ndarray) -> np.ndarray:
    return opened.view(np.int64)


TRUNCATION_BOUND = 2**62 - 1


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(-TRUNCATION_BOUND, TRUNCATION_BOUND), min_size=1, max_size=40),
    st.integers(1, 62),
)
def test_truncation_is_the_floor_or_one_unit_more(values, bits):
    opened = signed(run(lambda engine, x: engine.truncate(x, bits=bits), words(values)).value)
    assert set(opened - (np.array(values) >> bits)) <= {0, 1}


def test_truncation_never_errs_by_more_at_the_range_bound():
    # A local shift of the shares is off by 2^48 here for one value in four
    # (docs/protocol.md#truncation).
    rng = np.random.default_rng(0)
    bound = TRUNCATION_BOUND
    values = rng.integers(bound - 2**20, bound, size=500_000) * rng.choice([-1, 1], size=500_000)
    opened = signed(run(lambda engine, x: engine.truncate(x), words(values)).value)
    assert set(np.unique(opened - (values >> 16))) <= {0, 1}


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=40))
def test_negative_is_exact(values):
    opened = run(lambda engine, x: engine.negative(x), words(values)).value
    assert (signed(opened) == (np.array(values) < 0)).all()


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(-BOUND, BOUND), min_size=1, max_size=40))
def test_relu_is_the_larger_of_the_truncated_value_and_zero(values):
    opened = signed(run(lambda engine, x: engine.relu_and_value(x)[0], words(values)).value)
    assert set(opened - np.maximum(np.array(values) >> 16, 0)) <= {0, 1}


def test_products_are_exact_in_the_ring():
    rng = np.random.default_rng(1)
    x, y = (rng.integers(0, 2**64, size=(3, 4, 5), dtype=np.uint64) for _ in range(2))
    assert (run(lambda engine, a, b: engine.multiply(a, b), x, y).value == x * y).all()
    assert (run(lambda engine, a: engine.square(a), x).value == x * x).all()


MAPS = [
    ("dense", (1, 2, 5), (4, 3, 5)),
    ("dense", (4, 2, 5), (4, 3, 5)),
    ("dense_back", (4, 2, 3), (4, 3, 5)),
    ("convolve", (2, 1, 3, 7, 7), (4, 2, 3, 3, 3)),
    ("convolve", (2, 4, 3, 7, 7), (4, 2, 3, 3, 3)),
]


WINDOWS = [Window(stride=2), Window(padding=(1, 2, 0, 1)), Window(1, 3, (1, 1, 1, 1))]
ENGINES = [CryptenEngine, FusedEngine]


@pytest.mark.parametrize("engine_type", ENGINES)
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(("name", "left", "right"), MAPS)
def test_maps_of_own_and_of_common_inputs_are_exact_in_the_ring(
    name, left, right, window, engine_type
):
    rng = np.random.default_rng(2)
    x, weight = (rng.integers(0, 2**64, size=shape, dtype=np.uint64) for shape in (left, right))
    settings = {"window": window} if name == "convolve" else {}

    def product(engine, a, b):
        return getattr(engine, name)(a, Weight("0.weight", b), **settings)

    expected = product(CLEAR, as_tensor(x), as_tensor(weight))
    assert (run(product, x, weight, engine_type=engine_type).value == as_words(expected)).all()


@pytest.mark.parametrize("window", WINDOWS)
def test_a_window_enlarges_and_pads_before_the_convolution(window):
    rng = np.random.default_rng(3)
    x, weight = (
        torch.from_numpy(rng.integers(-9, 9, size=shape))
        for shape in ((2, 4, 3, 7, 7), (4, 2, 3, 3, 3))
    )
    large = torch.nn.functional.interpolate(x.flatten(1, 2).double(), scale_factor=window.factor)
    padded = torch.nn.functional.pad(large, window.padding)
    expected = torch.conv2d(
        padded, weight.flatten(0, 1).double(), stride=window.stride, groups=4
    ).unflatten(1, (4, 2))
    assert torch.equal(apply("conv", x, weight, window), expected.long())


@pytest.mark.parametrize("window", WINDOWS)
def test_the_fused_engine_opens_the_input_before_it_is_enlarged(window):
    def program(engine, x, weight):
        return engine.convolve(x, Weight("0.weight", weight), window)

    x, weight = np.ones((2, 4, 3, 7, 7), np.uint64), np.ones((4, 2, 3, 3, 3), np.uint64)
    counts = {
        phase.name: phase.bytes_to_peer
        for phase in run(program, x, weight, engine_type=FusedEngine).sessions[0].phases
    }
    assert counts["network"] == 8 * x.size + 16  # and a digest


def test_rounds_do_not_grow_with_the_batch():
    few, many = (
        run(lambda engine, x: engine.relu_and_value(x)[0], words([[5] * count]))
        for count in (1, 500)
    )
    assert few.sessions[0].rounds == many.sessions[0].rounds


def test_a_plan_from_an_earlier_run_gives_the_same_result():
    def program(engine, x):
        return engine.relu_and_value(engine.multiply(x, x))[0]

    first = run(program, words([3 << 16, -5]))
    again = run(program, words([3 << 16, -5]), plan=first.sessions[0].tuples.used)
    assert abs(signed(first.value) - signed(again.value)).max() <= 1


def test_a_run_that_leaves_its_plan_is_stopped():
    with pytest.raises(TranscriptMismatch):
        run(lambda engine, x: engine.square(x), words([1, 2]), plan=[And((2,))])


def test_parties_that_drew_different_tuples_are_found_out_before_anything_is_released():
    def program(engine, x):
        if engine.party == 0:
            engine_tuples = x  # the same value; only the list of tuples differs
            from parties.mpc.crypten_backend.communicator import SessionCommunicator

            SessionCommunicator.session().tuples.used.append(Square((1,)))
            return engine_tuples
        return x

    with pytest.raises(TranscriptMismatch):
        run(program, words([7]))


def test_cryptens_division_is_the_engines_truncation():
    # CrypTen's own shifts both shares, and is off by 2^62 for one value in four here.
    bound = 2**62 - 1

    def program(engine, x):
        return ArithmeticSharedTensor.div_(x, 4)

    opened = signed(run(program, words([bound, -bound, 8] * 20)).value)
    assert set(opened - np.array([bound >> 2, -bound >> 2, 2] * 20)) <= {0, 1}


def test_cryptens_own_providers_cannot_be_selected():
    def program(engine, x):
        import crypten

        for name in ("TFP", "TTP", "HE"):
            with pytest.raises(NotAllowed, match="cannot be changed"):
                crypten.cfg.mpc.provider = name
        assert type(crypten.mpc.get_default_provider()) is DealerProvider
        return MPCTensor.from_shares(x.share, precision=0)._ltz()._tensor

    outcome = run(program, words([-4, 4]))
    assert signed(outcome.value).tolist() == [1, 0]


def test_no_torch_generator_is_ever_seeded():
    import crypten

    run(lambda engine, x: engine.relu_and_value(x)[0], words([1]))
    assert all(not generators for generators in crypten.generators.values())


def test_wrap_counts_are_refused():
    with pytest.raises(NotReady):
        DealerProvider().wrap_rng(torch.Size((1,)))

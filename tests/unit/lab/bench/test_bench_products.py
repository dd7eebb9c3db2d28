"""Products are checked before they are timed, counted as the plain map, and named for people."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from parties.mpc.fixed_product import FixedProduct
from parties.mpc.window import Window
from privedge.cli.main import build
from privedge.errors import ConfigError, PrivEdgeError
from privedge_lab.bench import products
from privedge_lab.results.rows.bench import ProductRow

CONV = FixedProduct("conv", "", (2, 3, 2, 4, 4), (1, 2, 2, 5, 5), Window(1, 2, (1, 2, 1, 2)))
KINDS = [
    FixedProduct("dense", "", (3, 4, 5), (1, 2, 5)),
    FixedProduct("dense", "", (1, 7, 5), (1, 20, 5)),
    FixedProduct("dense_back", "", (3, 4, 5), (3, 2, 4)),
    CONV,
    FixedProduct("conv", "", (3, 8, 2, 3, 3), (2, 1, 2, 6, 7), Window(2, 1, (1, 0, 1, 1))),
]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=products.shown)


@pytest.fixture(autouse=True)
def three_rounds(monkeypatch):
    monkeypatch.setattr(products, "_ENOUGH_S", 0.0)


def nothing_told(_doing, _done, _total):
    pass


@every_kind
def test_a_product_that_is_right_has_two_figures(kind):
    row = products.measured(kind)
    assert (row.kind, row.shape) == (kind.map, products.shown(kind))
    assert min(row.torch_int64_gmacs, row.ours_gmacs) > 0


@st.composite
def convolutions(draw):
    extent = st.integers(1, 4)
    kernel, sides = draw(extent), draw(st.tuples(st.integers(4, 7), st.integers(4, 7)))
    padding = draw(st.tuples(*[st.integers(0, 2)] * 4))
    window = Window(draw(st.integers(1, 3)), draw(st.integers(1, 3)), padding)
    owners, out, channels = draw(st.tuples(extent, extent, extent))
    groups = draw(st.sampled_from([1, owners]))
    given_ = (draw(st.integers(1, 3)), groups, channels, *sides)
    return FixedProduct("conv", "", (owners, out, channels, kernel, kernel), given_, window)


@settings(max_examples=40, deadline=None)
@given(kind=convolutions())
def test_any_convolution_is_the_same_by_torch(kind):
    assert products.measured(kind).kind == "conv"


@every_kind
def test_a_planted_wrong_product_is_refused_and_not_timed(kind, monkeypatch):
    right, timed = FixedProduct.apply, []

    def wrong(self, x, prepared):
        result = right(self, x, prepared).clone()
        result.flatten()[-1:] ^= 1 << 40
        return result

    monkeypatch.setattr(FixedProduct, "apply", wrong)
    monkeypatch.setattr(products, "_best", timed.append)
    with pytest.raises(PrivEdgeError, match="is not the one that torch gives") as refusal:
        products.measured(kind)
    assert timed == []
    assert "\n" not in str(refusal.value) and products.shown(kind) in str(refusal.value)


def test_a_way_of_torch_that_is_wrong_is_refused_too(monkeypatch):
    monkeypatch.setattr(products, "_unfolded", lambda *given: products._conv2d(*given) + 1)
    with pytest.raises(PrivEdgeError, match="is not the one that torch gives"):
        products.measured(CONV)


def test_the_command_refuses_a_wrong_product_without_a_row(monkeypatch):
    monkeypatch.setattr(FixedProduct, "apply", lambda kind, *_: torch.zeros(kind.derived[0]).long())
    asked = ["bench", "products", "--preset", "subspace32", "--json"]
    done = CliRunner().invoke(build(), asked)
    assert isinstance(done.exception, PrivEdgeError) and done.stdout == ""


def test_multiplications_are_those_of_the_plain_map():
    window = Window(2, 1, (1, 1, 1, 1))
    counts = {
        FixedProduct("dense", "", (1, 64, 512), (1, 1300, 512)): 1300 * 512 * 64,
        FixedProduct("dense", "", (10, 64, 512), (1, 2, 512)): 10 * 2 * 64 * 512,
        FixedProduct("dense_back", "", (10, 64, 512), (10, 2, 64)): 10 * 2 * 512 * 64,
        FixedProduct("conv", "", (10, 32, 16, 4, 4), (1, 10, 16, 16, 16), window): (
            10 * 32 * (8 * 8) * (16 * 4 * 4)
        ),
        # Twice as large, and one column and row of zeros more than the kernel uses up.
        CONV: 2 * 3 * (10 * 10) * (2 * 4 * 4),
    }
    assert {kind: products.multiplications(kind) for kind in counts} == counts


def test_shapes_are_named_for_people():
    dense = FixedProduct("dense", "", (10, 256, 48), (10, 16, 48))
    assert products.shown(dense) == "(10, 16, 48) x (10, 48, 256)"
    assert products.shown(KINDS[1]) == "(20, 5) x (5, 7)"
    assert products.shown(KINDS[2]) == "(3, 2, 4) x (3, 4, 5)"
    assert products.shown(CONV) == (
        "input (1, 2, 2, 5, 5), kernel (2, 3, 2, 4, 4), enlarged 2, padding (1, 2, 1, 2)"
    )


def test_every_shape_of_every_preset_has_a_name_of_its_own_that_can_be_stored():
    kinds = products.kinds([products.ALL], [1, 10])
    names = [(kind.map, products.shown(kind)) for kind in kinds]
    assert len(set(names)) == len(names) > 50
    assert {kind.map for kind in kinds} == {"dense", "conv"}
    stored = [ProductRow.read({"kind": kind, "shape": shape}) for kind, shape in names]
    assert [(row.kind, row.shape) for row in stored] == names


def test_an_unknown_preset_is_refused_before_anything_is_measured():
    with pytest.raises(ConfigError, match="preset 'conv99' is unknown"):
        next(products.measure(["subspace32", "conv99"], [1], nothing_told))


def test_products_are_measured_with_one_thread_and_the_others_come_back():
    before, seen = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        rows = products.measure(
            ["subspace32"], [2], lambda *_: seen.append(torch.get_num_threads())
        )
        assert len(list(rows)) == len(seen) == 7
        assert (set(seen), torch.get_num_threads()) == ({1}, 2)
    finally:
        torch.set_num_threads(before)


def test_the_command_prints_exactly_these_keys():
    asked = ["bench", "products", "--preset", "subspace32", "--owners", "1,2", "--json"]
    done = CliRunner().invoke(build(), asked)
    document = json.loads(done.stdout)
    assert set(document) == {"processor", "rows"}
    keys = ["shape", "kind", "torch_int64_gmacs", "ours_gmacs"]
    assert [list(row) for row in document["rows"]] == [keys] * 9
    assert [row["shape"] for row in document["rows"]] == [
        "(512, 512) x (512, 256)",
        "(256, 256) x (256, 64)",
        "(1300, 512) x (512, 64)",
        "(32, 288) x (288, 64)",
        "(64, 512) x (512, 16)",
        "(1, 512) x (512, 64)",
        "(1, 512) x (512, 1)",
        "(1, 1, 512) x (2, 512, 64)",
        "(1, 1, 512) x (2, 512, 1)",
    ]


def test_the_table_names_the_processor_and_both_figures():
    done = CliRunner().invoke(build(), ["bench", "products", "--preset", "subspace32"])
    lines = done.stdout.splitlines()
    assert lines[0].startswith("processor: ") and len(lines[0]) > len("processor: ")
    assert "torch GMAC/s" in done.stdout and "ours GMAC/s" in done.stdout
    assert "(1, 1, 512) x (10, 512, 64)" in done.stdout

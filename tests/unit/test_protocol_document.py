"""docs/protocol.md says of itself where its code, tests and vectors are, and its figures hold."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from parties.mpc.fused import tree
from parties.mpc.fused.choice import Choice
from parties.mpc.fused.pairs import Pair
from parties.mpc.fused.squares import TruncatedSquare
from parties.mpc.fused.tuples import NIBBLES, Comparison, ExactTruncation, FusedRelu, TreeTuple
from parties.mpc.tuples import Product, Square, Truncation, TupleKind
from privedge.sharing.ring import width

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "protocol.md").read_text()
VECTORS = json.loads((ROOT / "tests" / "golden" / "protocol.json").read_text())
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
# A multiple of 64, so that packed bits leave no rest.
ELEMENTS = 6400


def last_line(section: str) -> str:
    """The last paragraph of a section, on one line."""
    return " ".join(SECTIONS[section].strip().split("\n\n")[-1].split())


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_ends_with_its_code_tests_and_vectors(name):
    found = re.fullmatch(r"Code: (.+)\. Tests: (.+)\. Vectors: (.+)\.", last_line(name))
    assert found is not None
    code, tests, _ = (re.findall(r"`([^`]+)`", part) for part in found.groups())
    assert code and tests
    assert all(path.startswith("tests/") for path in tests)


def test_every_vector_of_the_file_is_named_by_a_section_and_none_else():
    named = [
        name
        for section in SECTIONS
        for name in re.findall(r"`(\w+)`", last_line(section).partition("protocol.json`, key")[2])
    ]
    assert set(named) == set(VECTORS)


def rows(section: str, columns: int) -> list[list[str]]:
    """Rows of tables with so many columns, without heads."""
    lines = [line.strip("|").split("|") for line in SECTIONS[section].splitlines() if "|" in line]
    cells = [[cell.strip() for cell in line] for line in lines if len(line) == columns]
    return [line for line in cells[1:] if not set(line[0]) <= {"-"}]


def sent(kind: TupleKind) -> float:
    """Bytes to the other party for an element: as many as there are masks, but of a comparison's
    sum only the bits that decide, in whole bytes.
    """
    unsent = 8 - width(kind.bits + 1) if isinstance(kind, Comparison) else 0
    return 8 * sum(np.prod(shape) for shape in kind.free) / ELEMENTS - unsent


def dealt(kind: TupleKind) -> float:
    return 8 * sum(np.prod(shape) for shape in kind.derived) / ELEMENTS


def rounds(kind: TupleKind) -> int:
    return len(kind.levels) + 2 if isinstance(kind, TreeTuple) else 1


def test_the_table_of_comparisons_is_what_its_tuples_are_made_of():
    found = rows("Comparison", 8)
    assert [int(row[0]) for row in found] == list(NIBBLES)
    for bits, nibbles, levels, masks, products, *costs in found:
        kind = Comparison((ELEMENTS,), int(bits))
        expected = ", ".join(f"({each.fan}, {each.groups})" for each in tree.levels(int(nibbles)))
        assert (int(nibbles), levels) == (NIBBLES[int(bits)], expected)
        assert int(masks) == sum(kind.mask_sizes)
        assert int(products) == sum(kind.product_sizes)
        assert [*map(float, costs)] == [rounds(kind), sent(kind), dealt(kind)]


SHAPE = (ELEMENTS,)
KINDS: dict[str, TupleKind] = {
    "product of two secrets": Product("mul", SHAPE, SHAPE),
    "square": Square(SHAPE),
    "truncation, one unit": Truncation(SHAPE, 16),
    "truncation, exact": ExactTruncation(SHAPE, 16),
    "truncated square": TruncatedSquare(SHAPE, 16),
    "ReLU": FusedRelu(SHAPE, 16),
    "ReLU, exact": FusedRelu(SHAPE, 16, exact=True),
    "comparison, 63 bits": Comparison(SHAPE, 63),
    "comparison, 39 bits": Comparison(SHAPE, 39),
}


def test_the_table_of_costs_is_what_tuples_are_made_of():
    by_name = {row[0]: [*map(float, row[1:4])] for row in rows("Cost", 5) if row[0] in KINDS}
    assert by_name == {
        name: [rounds(kind), sent(kind), dealt(kind)] for name, kind in KINDS.items()
    }


def test_a_choice_costs_what_the_page_says():
    values, bits = 3, 4
    kind = Choice(ELEMENTS, values, bits)
    (row,) = [row for row in rows("Cost", 5) if row[0].startswith("choice")]
    assert row[1:4] == ["1", "8 (1 + v)", "8 * 2^b (1 + v)"]
    assert (sent(kind), dealt(kind)) == (8 * (1 + values), 8 * 2**bits * (1 + values))


def test_a_pair_costs_what_the_page_says():
    carried = 3
    (row,) = [row for row in rows("Cost", 5) if row[0].startswith("pair")]
    assert row[1:4] == ["4", "11 + 8 v", "40.625 + 8 v"]
    kind = Pair(SHAPE, 39, carried)
    assert (sent(kind), dealt(kind)) == (11 + 8 * carried, 40.625 + 8 * carried)


def test_the_pages_kinds_are_written_as_their_purposes():
    written = " ".join(re.findall(r"^\| `.*$", SECTIONS["Correlated randomness"], re.MULTILINE))
    kinds = {purpose.split(" (")[0] for purpose in (each["purpose"] for each in VECTORS["tuples"])}
    assert {f"`{kind.split()[0]}" for kind in kinds} <= set(re.findall(r"`\w+", written))

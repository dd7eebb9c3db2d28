"""`privedge attack membership`: a row an attack, of every combination that was asked for."""

import json

import numpy as np
import pytest
from sklearn.datasets import load_digits
from typer.testing import CliRunner, Result

from privedge.cli.main import build


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    given = load_digits()
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    np.savez(path, images=np.rint(given.images * (255 / 16)).astype(np.uint8), labels=given.target)
    return path


def attack(file, *more: object) -> Result:
    fixed = ("--data", file, "--owners", 2, "--asked", 8)
    return CliRunner().invoke(build(), ["attack", "membership", *map(str, (*fixed, *more))])


def test_every_combination_is_measured(file):
    several = ("--preset", "subspace32,subspace64", "--members", "20,10", "--margin", "1,.9")
    rows = json.loads(attack(file, *several, "--json").stdout)["rows"]
    found = [(row["preset"], row["members"], row["margin"], row["attack"]) for row in rows]
    assert found == [
        (preset, members, margin, attack)
        for preset in ("subspace32", "subspace64")
        for members in (10, 20)
        for margin in (0.9, 1)
        for attack in ("gap", "count", "learned")
    ]


def test_text_says_of_which_models_a_line_is(file):
    said = attack(file, "--members", 10, "--margin", 0.9).stdout
    assert "subspace32 gap, 10 images an owner, margin 0.9: AUC" in said


@pytest.mark.parametrize("members", ["9", "20,9", "20.5", "many"])
def test_numbers_of_members_are_whole_and_ten_or_more(file, members):
    assert attack(file, "--members", members).exit_code == 2

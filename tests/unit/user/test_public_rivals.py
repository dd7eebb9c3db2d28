"""Rivals of vectors and of encoders are what `features.extract` makes of them."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from privedge.cli.main import build
from privedge.errors import ConfigError, ImageError
from privedge.ran import rivals
from privedge.ran.feature_kinds import Vector
from privedge.ran.spec import RanSpec, Subspace

SPEC = RanSpec(
    name="voices",
    image=None,
    features=Vector(size=16, unit_length=True),
    layers=(Subspace(components=2),),
)


@pytest.fixture
def files(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(30, 16))
    np.savez(tmp_path / "public.npz", vectors=vectors)
    (tmp_path / "spec.json").write_text(SPEC.to_json())
    return tmp_path


def made(files, *more: object):
    fixed = ("rivals", "make", "--images", files / "public.npz", "--out", files / "r.npz", "--json")
    return CliRunner().invoke(build("rivals"), [*map(str, (*fixed, *more))])


def test_public_vectors_become_rivals_of_unit_length(files):
    done = made(files, "--spec", files / "spec.json", "--count", 20)
    assert done.exit_code == 0, done.exception
    said, found = json.loads(done.stdout), rivals.read(files / "r.npz", SPEC)
    assert (said["shape"], said["rivals"]) == ([16], 20)
    assert np.allclose(np.linalg.norm(found.rows, axis=1), 1, atol=1e-5)
    given = np.load(files / "public.npz")["vectors"]
    unit = given / np.linalg.norm(given, axis=1, keepdims=True)
    near = np.abs(found.rows[:, None] - unit[None]).max(2).min(1)
    assert (near < 1e-5).all()  # each is one of the public vectors


def test_vectors_are_no_rivals_of_pictures_and_equal_ones_count_once(files):
    done = made(files, "--preset", "subspace32", "--channels", 1)
    assert isinstance(done.exception, ConfigError)
    np.savez(files / "public.npz", vectors=np.ones((30, 16)))
    done = made(files, "--spec", files / "spec.json", "--count", 2)
    assert isinstance(done.exception, ImageError) and "1 different" in str(done.exception)

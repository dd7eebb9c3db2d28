"""A margin is chosen on strangers, and says how sure it is; or that it cannot be told."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from privedge.cli.main import build
from privedge.errors import ConfigError, ImageError
from privedge.ran import rivals
from privedge.ran.presets import preset
from privedge.user import people
from privedge.user.calibrate import Ratios, choose
from privedge_lab.demo import digits

PRESET = ("--preset", "subspace32", "--components", "8")


def ratios(own, strangers) -> Ratios:
    return Ratios(np.array(own, float), np.ones(len(own), bool), np.array(strangers, float))


def test_the_margin_is_the_largest_with_few_enough_strangers():
    strangers = np.linspace(0.5, 1.5, 200)  # the third is at .51
    found = choose(ratios([0.1, 0.2, 0.505, 0.9], strangers), 0.01)
    assert strangers[1] < found.margin <= strangers[2]
    assert (found.far, found.strangers) == (2 / 200, 200)
    assert found.tar == 3 / 4 and found.tar_interval[0] < 0.75 < found.tar_interval[1]
    assert found.far_interval[0] < 0.01 < found.far_interval[1]


@given(st.lists(st.floats(0.01, 3), min_size=100, max_size=300), st.sampled_from([0.01, 0.05]))
def test_no_more_than_the_wanted_share_of_strangers_is_named(strangers, wanted):
    found = choose(ratios([0.1], strangers), wanted)
    if found.margin is not None:
        assert found.far <= wanted and found.margin <= 1
        assert found.margin * 1024 == int(found.margin * 1024)


def test_too_few_strangers_are_said_not_resolvable():
    found = choose(ratios([0.1], [0.9] * 99), 0.01)
    assert found.margin is None and found.far is None
    assert "not resolvable with 99 strangers; give at least 100" in found.why


def test_strangers_whom_no_margin_keeps_out_are_said():
    found = choose(ratios([0.1], [0.0] * 200), 0.01)
    assert found.margin is None and "too alike" in found.why


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Owners 0 to 3 as folders and as an npz; 4 to 6 strangers; 7 to 9 public."""
    folder = tmp_path_factory.mktemp("digits")
    given = digits.load(0).train_images
    for number in range(4):
        (folder / "own" / f"digit-{number}").mkdir(parents=True)
        for at, image in enumerate(given[number][:12]):
            Image.fromarray(image).save(folder / "own" / f"digit-{number}" / f"{at:02}.png")
    own = np.concatenate([given[number][:12] for number in range(4)])
    np.savez(folder / "own.npz", images=own, labels=np.repeat(np.arange(4), 12))
    np.savez(folder / "strangers.npz", images=np.concatenate([given[n][:40] for n in (4, 5, 6)]))
    public = np.concatenate([given[number][:10] for number in (7, 8, 9)])
    np.savez(folder / "public.npz", images=public, labels=np.repeat([7, 8, 9], 10))
    return folder


def called(*arguments):
    return CliRunner().invoke(build("calibrate"), [*map(str, arguments)])


def test_rivals_are_made_shown_and_used_to_calibrate_one_owner(sets, tmp_path):
    file = tmp_path / "rivals.npz"
    make = ("rivals", "make", "--images", sets / "public.npz", "--out", file, "--count", 12)
    made = called(*make, "--preset", "subspace32", "--channels", 1, "--json")
    assert made.exit_code == 0, made.output
    said = json.loads(made.stdout)
    spec = preset("subspace32", height=32, width=32, channels=1)
    found = rivals.read(file, spec)
    assert (said["rivals"], said["sha256"], len(found)) == (12, found.digest, 12)
    assert json.loads(called("rivals", "show", file, "--json").stdout) == said
    kept = tmp_path / "thesis.txt"
    kept.write_text("hours of work")
    into = (*make[:4], "--out", kept, "--preset", "subspace32", "--channels", 1)
    assert "exists and holds no rivals" in str(called(*into).exception)
    assert kept.read_text() == "hours of work"
    assert called(*into, "--force").exit_code == 0 and len(rivals.read(kept, spec)) == 20
    # The same pictures and seed give the same rivals, another seed others.
    other = tmp_path / "other.npz"
    for seed, same in ((0, True), (1, False)):
        called(
            *make[:4], "--out", other, "--count", 12, *PRESET[:2], "--channels", 1, "--seed", seed
        )
        assert (rivals.read(other, spec) == found) is same

    ask = ("calibrate", "--strangers", sets / "strangers.npz", "--far", 0.05, *PRESET, "--json")
    one = tmp_path / "one"
    (one).mkdir()
    (one / "ana").symlink_to(sets / "own" / "digit-0")
    alone = called(*ask, "--own", one)
    assert isinstance(alone.exception, ConfigError) and "give --rivals FILE" in str(alone.exception)
    with_rivals = json.loads(called(*ask, "--own", one, "--rivals", file).stdout)
    assert (with_rivals["owners"], with_rivals["rivals"]) == (1, 12)
    assert 0 < with_rivals["margin"] < 1 and with_rivals["far"] <= 0.05


def test_folders_and_an_npz_of_the_same_people_give_the_same_margin(sets):
    ask = ("calibrate", "--strangers", sets / "strangers.npz", "--far", 0.05, *PRESET, "--json")
    found = [json.loads(called(*ask, "--own", sets / name).stdout) for name in ("own", "own.npz")]
    assert found[0] == found[1]
    assert found[0]["asked"] == 16 and found[0]["strangers"] == 120
    assert found[0]["recall"] > 0.8 and found[0]["far"] <= 0.05
    said = called(*ask[:-1], "--own", sets / "own.npz").stdout
    assert "margin = " in said and "TAR " in said and "95 %" in said
    unresolved = called(*ask[:4], 0.001, *ask[5:], "--own", sets / "own.npz")
    assert "not resolvable with 120 strangers" in json.loads(unresolved.stdout)["why"]
    assert unresolved.exit_code == 1
    assert called(*ask[:4], 0.001, *ask[5:-1], "--own", sets / "own.npz").exit_code == 1


def test_people_without_labels_and_too_few_pictures_are_refused(sets, tmp_path):
    with pytest.raises(ImageError, match="has no labels"):
        people.by_person(sets / "strangers.npz")
    done = called(
        *("rivals", "make", "--images", sets / "public.npz", "--count", 31, "--preset"),
        *("subspace32", "--channels", 1, "--out", tmp_path / "r.npz"),
    )
    assert isinstance(done.exception, ImageError) and "1 to 30" in str(done.exception)
    assert not (tmp_path / "r.npz").exists()


# --- Strangers who are none -----------------------------------------------------------------------


def test_strangers_who_are_the_owners_are_refused(sets, tmp_path):
    given = digits.load(0).train_images
    ask = ("calibrate", "--own", sets / "own.npz", "--far", 0.05, *PRESET, "--json")
    for own in ("own", "own.npz"):
        whole = called(*ask[:2], sets / own, *ask[3:], "--strangers", sets / "own.npz")
        assert "48 of 48 pictures are the owners' own too" in str(whole.exception)
    some = np.concatenate([given[5][:50], given[2][3:5]])
    np.savez(tmp_path / "mixed.npz", images=some)
    mixed = called(*ask, "--strangers", tmp_path / "mixed.npz")
    assert isinstance(mixed.exception, ConfigError)
    assert "2 of 52 pictures are the owners' own too" in str(mixed.exception)
    # Other pictures of the same people can be seen by what comes out only.
    same = np.concatenate([given[number][12:52] for number in range(4)])
    np.savez(tmp_path / "same.npz", images=same)
    alike = called(*ask, "--strangers", tmp_path / "same.npz")
    assert alike.exit_code == 1, alike.output
    said = json.loads(alike.stdout)
    assert said["margin"] is None and "too alike the owners" in said["why"]


def test_vectors_of_owners_as_strangers_and_as_rivals_are_refused(tmp_path):
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 16))
    own = np.concatenate([centre + 0.1 * rng.normal(size=(10, 16)) for centre in centres])
    labels = np.repeat(["ana", "bo", "cy"], 10)
    np.savez(tmp_path / "own.npz", vectors=own, labels=labels)
    np.savez(tmp_path / "others.npz", vectors=rng.normal(size=(200, 16)))
    ask = ("calibrate", "--own", tmp_path / "own.npz", "--preset", "vector", "--far", 0.05)
    itself = called(*ask, "--strangers", tmp_path / "own.npz")
    assert "30 of 30 vectors are the owners' own too" in str(itself.exception)
    make = ("rivals", "make", "--preset", "vector", "--out", tmp_path / "r.npz", "--images")
    assert called(*make, tmp_path / "own.npz").exit_code == 0
    others = (*ask, "--strangers", tmp_path / "others.npz")
    refused = called(*others, "--rivals", tmp_path / "r.npz")
    assert "rivals: " in str(refused.exception) and "no owners" in str(refused.exception)
    assert called(*others).exit_code == 0


def test_a_margin_that_names_no_owner_is_none():
    found = choose(ratios([0.5] * 5, np.linspace(0.3, 1.5, 200)), 0.01)
    assert found.margin is None and "names no owner" in found.why

"""A folder of folders of pictures as people have it: what is used, and what is said of the rest."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from privedge.errors import ConfigError, ImageError, QualityError
from privedge.local import models, up
from privedge.local.homes import Home
from privedge.local.pictures import Pictures, look
from privedge.local.servers import Servers
from privedge.ran.alignment import aligner_for
from privedge.ran.images import Measured
from privedge.ran.public_files import PublicFiles
from privedge.user.checkpoint import Ran
from tests import drawn_faces, onnx_files


def draw(folder: Path, count: int, *, size=(32, 32), mode: str = "L") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    channels = (3,) if mode == "RGB" else ()
    rng = np.random.default_rng(len(str(folder)))
    for number in range(count):
        pixels = rng.integers(0, 255, (size[1], size[0], *channels), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")


def looked(folder: Path, **known) -> Pictures:
    return look(folder, beside=folder / "none", known=known, progress=lambda *_: None)


def known(found: Pictures) -> dict[str, tuple[Measured, str]]:
    """What a later look is given of an earlier one."""
    return {digest: (size, found.pixels[digest]) for digest, size in found.sizes.items()}


@pytest.fixture
def people(tmp_path):
    draw(tmp_path / "ana", 6)
    draw(tmp_path / "Benoît", 5)
    return tmp_path


def test_each_folder_is_an_owner_and_nothing_needs_to_be_said(people):
    (people / "Benoît").rename(people / "ben")
    found = looked(people)
    assert [(owner.name, len(owner.files)) for owner in found.owners] == [("ana", 6), ("ben", 5)]
    assert (found.size.height, found.size.width, found.size.channels) == (32, 32, 1)
    assert found.notes == ()


def test_whatever_is_odd_is_said_once(people):
    for name in ("__MACOSX", ".thumbnails", "@eaDir"):
        draw(people / name, 2)
    (people / "later").mkdir()
    draw(people / "ana" / "2023", 1)
    draw(people, 2)
    for name in ("a.gif", "b.gif", "notes.txt", "Thumbs.db", ".DS_Store"):
        (people / "ana" / name).write_bytes(b"?")
    for name in ("ana/cut.jpg", "Benoît/empty.png"):
        (people / name).write_bytes(b"")
    found = looked(people)
    assert [owner.name for owner in found.owners] == ["benoit", "ana"]
    assert [note.removeprefix(f"{people}: ") for note in found.notes] == [
        "2 pictures beside the folders passed over",
        "system folders passed over: .thumbnails, @eaDir, __MACOSX",
        "folders without a picture passed over: later",
        "pictures left out: Benoît/empty.png is not a sound PNG, JPEG or WebP image, "
        "ana/cut.jpg is not a sound PNG, JPEG or WebP image",
        "passed over, being no picture: 2 .gif, 1 .txt, 1 folders in folders",
        "owners' names have letters, digits, . _ - only: 'Benoît' is benoit",
    ]


def test_owners_of_a_picture_or_two_are_served_and_named(people):
    draw(people / "cleo", 2)
    draw(people / "dora", 1)
    found = looked(people)
    assert {"cleo", "dora"} <= {owner.name for owner in found.owners}
    assert "to hold one out and check the model: cleo has 2, dora has 1" in " ".join(found.notes)
    cleo = next(owner for owner in found.owners if owner.name == "cleo")
    assert "few" in {flaw.kind for flaw in cleo.flaws()}


@pytest.mark.parametrize("names", [(), (".hidden", "__MACOSX"), ("empty",)])
def test_a_folder_without_owners_is_refused(tmp_path, names):
    for name in names:
        (tmp_path / name).mkdir()
    with pytest.raises(ImageError, match=r"holds no folders|no folder in it holds"):
        looked(tmp_path)


def test_a_long_list_is_cut_short(people):
    for number in range(30):
        (people / "ana" / f"bad{number:02}.jpg").write_bytes(b"")
    assert looked(people).notes[0].endswith("and 22 more")


def test_the_same_file_again_and_again_teaches_nothing(people):
    first = (people / "ana" / "00.png").read_bytes()
    for file in (people / "ana").iterdir():
        file.write_bytes(first)
    _, ana = looked(people).owners
    assert [flaw.kind for flaw in ana.flaws()] == ["alike"]


def test_a_known_picture_is_decoded_only_to_be_judged(people):
    found = looked(people)
    again = looked(people, **known(found))
    assert all(small is None for small in again.owners[1].greys)
    assert again.owners[1].flaws() == found.owners[1].flaws()


def test_what_is_written_beside_the_pictures_is_no_owner(people):
    home = people / "privedge-up" / "people"
    draw(home / "models", 3)
    found = look(people, beside=home, known={}, progress=lambda *_: None)
    assert [owner.name for owner in found.owners] == ["benoit", "ana"]


def test_a_picture_that_is_known_is_not_decoded_again(people):
    found = looked(people)
    told = {digest: replace(size, height=999) for digest, size in found.sizes.items()}
    again = looked(people, **known(replace(found, sizes=told)))
    assert again.sizes == told and again.owners == found.owners and again.pixels == found.pixels


def test_an_owner_is_known_by_the_content_and_order_of_its_pictures(people):
    before = {owner.name: owner.digest for owner in looked(people).owners}
    ana = people / "ana"
    (ana / "05.png").rename(ana / "06.png")  # still the last one
    assert {owner.name: owner.digest for owner in looked(people).owners} == before
    (ana / "06.png").rename(ana / "-.png")  # the first one
    after = {owner.name: owner.digest for owner in looked(people).owners}
    assert after["benoit"] == before["benoit"] and after["ana"] != before["ana"]


# --- One architecture for all ---------------------------------------------------------------------


def test_grey_stays_grey_and_the_preset_goes_by_size(people):
    plan, notes = models.plan(looked(people), "auto")
    assert (plan.spec.name, plan.spec.image.channels, notes) == ("ran32-fine", 1, [])
    draw(people / "ana", 12, size=(90, 70))
    assert models.plan(looked(people), "auto")[0].spec.name == "ran64-fine"


def test_an_owner_of_few_pictures_gets_everybody_a_subspace(people):
    draw(people / "cleo", 4)
    assert models.plan(looked(people), "auto")[0].spec.name == "subspace32-fine"


def test_grey_and_colour_together_are_colour_and_it_is_said(people):
    draw(people / "Benoît", 4, mode="RGB")
    plan, notes = models.plan(looked(people), "auto")
    assert plan.spec.image.channels == 3
    assert notes == ["7 of 11 pictures are grey; all owners' models are for colour"]
    # Ink is grey whatever the scanner says, so there is nothing to say.
    assert models.plan(looked(people), "subspace-writer")[1] == []


def test_an_unknown_preset_is_refused(people):
    with pytest.raises(ConfigError, match="preset 'nix' is unknown"):
        models.plan(looked(people), "nix")


def test_one_owner_alone_gets_a_threshold_and_that_is_said(tmp_path):
    draw(tmp_path / "ana", 20)
    plan, notes = models.plan(looked(tmp_path), "auto")
    assert plan.settings.threshold_quantile == 1.0
    assert len(notes) == 1 and notes[0].startswith("ana is the only owner")
    assert "the worst of 2 held-out pictures" in notes[0]
    _, (note,) = models.plan(looked(tmp_path), "auto", rivals=True)
    assert "is accepted if it is nearer than every public rival, too" in note


def test_one_owner_with_a_few_pictures_accepts_everybody_unless_there_are_rivals(tmp_path):
    draw(tmp_path / "ana", 3)
    found = looked(tmp_path)
    _, (note,) = models.plan(found, "auto")
    assert "every picture is accepted" in note and "--rivals" in note
    assert models.plan(found, "auto", rivals=True)[1] == []


def test_a_pipe_in_place_of_a_picture_is_left_out_and_not_waited_for(people):
    os.mkfifo(people / "ana" / "pipe.png")
    assert "ana/pipe.png cannot be read (is a pipe" in " ".join(looked(people).notes)


def test_what_is_held_out_is_what_training_does_not_learn_from(people):
    from privedge.ran.inputs import given
    from privedge.user import own_images

    plan, _ = models.plan(looked(people), "auto")
    owner = plan.owners[1]
    _, validation = own_images.halves(given(owner.files, plan.spec.image), plan.settings)
    held_out = given(plan.held_out(owner), plan.spec.image)
    assert np.array_equal(held_out, validation)


def test_only_a_damaged_model_is_trained_again(people, tmp_path_factory):
    plan, _ = models.plan(looked(people), "subspace32")
    home = Home(tmp_path_factory.mktemp("up") / "people", people)
    with home.taken():
        for damage in ((), ("ana",)):
            for name in damage:
                home.model(name).write_bytes(b"x")
            models.train(plan, home, lambda *_: None, lambda *_: None)
            loaded = [Ran.load(home.model(owner.name)).owner for owner in plan.owners]
            assert loaded == [owner.name for owner in plan.owners]
        first = home.model("benoit").stat().st_mtime_ns
        models.train(plan, home, lambda *_: None, lambda *_: None)
        assert home.model("benoit").stat().st_mtime_ns == first


def test_a_model_is_known_by_all_that_it_depends_on(people):
    found = looked(people)
    origins = models.plan(found, "ran32-fine")[0].origins
    assert origins == models.plan(looked(people), "auto")[0].origins
    assert set(origins) == {"ana", "benoit"} and len(set(origins.values())) == 2
    other = models.plan(found, "subspace32")[0].origins
    assert set(other.values()) & set(origins.values()) == set()


# --- Faces ----------------------------------------------------------------------------------------


@pytest.fixture
def faces(tmp_path):
    """Two people's photographs, one of them without a face and one with two; and the files."""
    files = PublicFiles.at(
        encoder=drawn_faces.encoder(tmp_path / "e.onnx"),
        detector=drawn_faces.detector(tmp_path / "d.onnx"),
    )
    for owner in ("ana", "ben"):
        (tmp_path / "people" / owner).mkdir(parents=True)
        for photo in range(4):
            picture = drawn_faces.discs((100 + 20 * photo, 150))
            picture.save(tmp_path / "people" / owner / f"{photo}.png")
    drawn_faces.discs().save(tmp_path / "people" / "ben" / "sea.png")
    two = drawn_faces.discs((60, 100), (220, 200))
    two.save(tmp_path / "people" / "ben" / "two.png")
    return tmp_path / "people", files


def test_pictures_without_the_one_face_are_left_out_and_named(faces):
    folder, files = faces
    spec = models.require_usable("subspace-encoder", files)

    def seen(largest: bool, **known) -> Pictures:
        aligner = aligner_for(spec, files, largest=largest)
        beside = folder / "none"
        return look(folder, beside=beside, known=known, progress=lambda *_: None, aligner=aligner)

    found = seen(False)
    assert [len(owner.files) for owner in found.owners] == [4, 4]
    note, few = found.notes
    assert "too few pictures" in few
    assert "ben/sea.png no face was found" in note and "ben/two.png has 2 faces" in note
    again = seen(False, **known(found))
    assert again.owners == found.owners
    largest = seen(True, **known(found))
    assert [len(owner.files) for owner in largest.owners] == [4, 5]
    # Models are trained again, for other faces may have been taken.
    assert {owner.digest for owner in largest.owners}.isdisjoint(o.digest for o in found.owners)


def test_up_says_whose_picture_an_encoder_takes_for_somebody_elses(tmp_path):
    """As `train` does. Nine red pictures and a blue one."""
    files = PublicFiles.at(encoder=onnx_files.mean_colour(tmp_path / "e.onnx"))
    drawn_faces.colours(tmp_path / "people" / "ana")
    drawn_faces.colours(tmp_path / "people" / "ben", other=7)
    home = Home(tmp_path / "home", tmp_path / "people")
    home.folder.mkdir()
    request = up.Request("people", "subspace-encoder", files=files, strict_quality=True)
    with pytest.raises(QualityError, match=r"^ben: 7\.png is unlike all others; leave[^;]*;"):
        up.bring_up(home, Servers(home), request, lambda *_: None, lambda *_: None, lambda _: None)


def test_the_preset_for_faces_asks_for_both_of_its_files(faces):
    _, files = faces
    with pytest.raises(ConfigError, match=r"preset face: needs .*--detector"):
        models.require_usable("face", PublicFiles.at(encoder=files.encoder))
    for given in (PublicFiles(), PublicFiles.at(detector=files.detector)):
        with pytest.raises(ConfigError, match=r"preset face: needs both .*--encoder, --detector"):
            models.require_usable("face", given)
    own = models.require_usable("face", files)
    assert own.name == "face-encoder" and own.features.aligned is not None


def test_w48_a_picture_in_two_owners_folders_is_told_however_it_is_stored(tmp_path):
    draw(tmp_path / "ana", 6)
    draw(tmp_path / "benoit", 6)
    with Image.open(tmp_path / "ana" / "03.png") as one:
        one.convert("RGB").save(tmp_path / "benoit" / "copy.webp", lossless=True)
    found = looked(tmp_path)
    again = looked(tmp_path, **known(found))
    (ana,), (ben,) = found.shared["ana"], found.shared["benoit"]
    assert "03.png is benoit/copy.webp" in ana.text and "copy.webp is ana/03.png" in ben.text
    assert again.shared == found.shared

"""Labelled sets: read, refused, split."""

import numpy as np
import pytest
import torch
from PIL import Image

from privedge.errors import ImageError
from privedge.ran import sets
from privedge.ran.alignment import aligner_for
from privedge.ran.named_spec import spec_named
from privedge.ran.public_files import PublicFiles
from privedge_lab import datasets
from tests import drawn_faces

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
LABELS = np.repeat(np.arange(4), 10)


def test_pixels_become_channels_first_in_0_to_1(tmp_path):
    colour = np.repeat(IMAGES[..., None], 3, axis=3)
    np.savez(tmp_path / "set.npz", images=colour, labels=LABELS, gender=LABELS % 2, names=["a"])
    data = datasets.read(tmp_path / "set.npz")
    assert data.images.shape == (40, 3, 8, 8)
    assert torch.equal(data.images[7, 2], torch.from_numpy(IMAGES[7]) / 255)
    assert list(data.facts) == ["gender"]
    assert data.classes == 4


def test_the_parts_are_disjoint_and_every_class_is_in_both():
    parts = datasets.split(datasets.from_arrays(IMAGES, LABELS), seed=3)
    seen = {image.numpy().tobytes() for image in parts.train.images}
    assert not seen & {image.numpy().tobytes() for image in parts.test.images}
    assert torch.bincount(parts.test.labels).tolist() == [2, 2, 2, 2]
    assert torch.bincount(parts.train.labels).tolist() == [8, 8, 8, 8]


def test_the_sets_own_split_wins():
    data = datasets.from_arrays(IMAGES, LABELS, {"is_test": np.arange(40) % 10 == 3})
    parts = datasets.split(data, seed=3)
    assert len(parts.test) == 4 and bool(parts.test.facts["is_test"].all())


def test_no_group_is_in_both_parts():
    data = datasets.from_arrays(IMAGES, LABELS, {"document": np.arange(40) // 2 % 5})
    parts = datasets.split(data, seed=3, group="document")
    pairs = [
        set(zip(part.labels.tolist(), part.facts["document"].tolist(), strict=True))
        for part in (parts.train, parts.test)
    ]
    assert pairs[0] and pairs[1] and not pairs[0] & pairs[1]


@pytest.mark.parametrize(
    "arrays",
    [
        {"labels": LABELS},
        {"images": IMAGES},
        {"images": IMAGES.astype(float), "labels": LABELS},
        {"images": IMAGES, "labels": LABELS[:3]},
        {"images": IMAGES, "labels": np.where(LABELS, LABELS, np.nan)},
        {"images": IMAGES, "labels": LABELS.astype(complex)},
        {"images": IMAGES, "labels": np.full(40, b"\xff")},
        {"images": IMAGES, "labels": LABELS.astype(object)},
    ],
)
def test_an_unsound_file_is_refused_by_name(tmp_path, arrays):
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(ImageError, match=r"set\.npz"):
        datasets.read(tmp_path / "set.npz")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        datasets.read(tmp_path / "none.npz")


# --- Folders --------------------------------------------------------------------------------------

NAMES = ("ana", "ben", "cleo", "dora")


def folder_of(path, inner: str = "{name}/{index:02}.png"):
    """IMAGES as files, each at the place that `inner` names."""
    for index, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
        file = path / inner.format(name=NAMES[label], index=index, page="ab"[index % 2])
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
    return path


def test_a_folder_is_the_set_that_the_npz_of_its_images_is(tmp_path):
    np.savez(tmp_path / "set.npz", images=IMAGES, labels=LABELS, label_names=np.array(NAMES))
    whole = datasets.read(tmp_path / "set.npz")
    found = datasets.read(folder_of(tmp_path / "set"))
    assert torch.equal(found.images, whole.images) and torch.equal(found.labels, whole.labels)
    assert found.names == whole.names == NAMES
    assert found.facts == {}
    assert found.take(torch.tensor([39])).names == NAMES


def test_folders_between_become_a_fact_that_is_the_same_for_all_classes(tmp_path):
    found = datasets.read(folder_of(tmp_path / "set", "{name}/page-{page}/{index:02}.png"))
    parts = datasets.split(found, seed=0, group="group")
    assert found.facts["group"].tolist() == [0] * 5 + [1] * 5 + ([0] * 5 + [1] * 5) * 3
    assert len(parts.test) == 20
    of_class = parts.test.labels == 2
    assert len(parts.test.facts["group"][of_class].unique()) == 1


def test_images_are_brought_to_the_median_size_and_no_further_than_presets_go(tmp_path):
    folder = folder_of(tmp_path / "set")
    (folder / ".cache").mkdir()
    (folder / "ana" / "._00.png").write_bytes(b"what some systems leave")
    Image.fromarray(np.full((30, 20, 3), 200, np.uint8)).save(folder / "ana" / "large.png")
    found = datasets.read(folder)
    assert found.images.shape == (41, 3, 8, 8) and found.names == NAMES
    assert torch.all(found.images[10] == 200 / 255)
    photos = tmp_path / "photos" / "ana"
    photos.mkdir(parents=True)
    Image.fromarray(np.zeros((300, 400), np.uint8)).save(photos / "wide.jpg")
    assert datasets.read(photos.parent).images.shape == (1, 1, 96, 128)


def test_a_digest_is_of_names_and_contents(tmp_path):
    folder = folder_of(tmp_path / "set")
    before = datasets.digest(folder)
    assert before == datasets.digest(folder_of(tmp_path / "again"))
    (folder / "notes.txt").write_text("no image")
    assert before == datasets.digest(folder)
    (folder / "ana" / "00.png").rename(folder / "ana" / "99.png")
    renamed = datasets.digest(folder)
    (folder / "ben" / "10.png").write_bytes((folder / "ben" / "11.png").read_bytes())
    assert len({before, renamed, datasets.digest(folder)}) == 3


def test_folders_that_are_no_labelled_set_are_refused_by_name(tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    Image.fromarray(IMAGES[0]).save(flat / "0.png")
    (tmp_path / "empty" / "ana").mkdir(parents=True)
    uneven = folder_of(tmp_path / "uneven", "{name}/{page}/{index}.png")
    (uneven / "eve").mkdir()
    Image.fromarray(IMAGES[0]).save(uneven / "eve" / "0.png")
    damaged = folder_of(tmp_path / "damaged")
    (damaged / "dora" / "35.png").write_bytes(b"no picture")
    for name, message in {
        "flat": "holds no folders",
        "empty": "ana: holds no",
        "uneven": "ana: holds no picture",
        "damaged": r"35\.png: is not a sound",
    }.items():
        with pytest.raises(ImageError, match=message):
            datasets.read(tmp_path / name)
    with pytest.raises(ImageError, match="cannot be read"):
        datasets.digest(tmp_path / "none")


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (np.array(["bo", "ana", "cleo", "dora"])[LABELS], ("ana", "bo", "cleo", "dora")),
        (np.array([b"bo", b"ana", b"cleo", b"dora"])[LABELS], ("ana", "bo", "cleo", "dora")),
        (LABELS.astype(float), ()),
        (LABELS.astype(np.uint8), ()),
    ],
)
def test_labels_are_those_of_training(tmp_path, labels, names):
    """What names an owner of `train-all` names the same class of an evaluation."""
    path = tmp_path / "set.npz"
    np.savez(path, images=IMAGES, labels=labels)
    data, owners = datasets.read(path), sets.by_owner(path, skip_bad=False).found
    assert data.names == names
    assert list(owners) == list(names or map(str, range(4)))
    for number, given in enumerate(owners.values()):
        mine = (data.images[data.labels == number, 0] * 255).round().to(torch.uint8)
        assert np.array_equal(mine.numpy(), given.array)


@pytest.mark.parametrize("labels", [LABELS / 2, LABELS - 2, LABELS > 1])
def test_labels_that_name_nobody_are_refused_alike(tmp_path, labels):
    path = tmp_path / "set.npz"
    np.savez(path, images=IMAGES, labels=labels)
    said = []
    for read in (datasets.read, lambda path: sets.by_owner(path, skip_bad=False)):
        with pytest.raises(ImageError, match="labels") as refusal:
            read(path)
        said.append(str(refusal.value))
    assert said[0] == said[1]


def test_a_folder_is_read_as_in_training(tmp_path, caplog):
    """Bad files are named at once, or left out; what is passed over is counted (W-52)."""
    path = folder_of(tmp_path / "set")
    whole = datasets.read(path)
    (path / "__MACOSX").mkdir()
    (path / NAMES[0] / "notes.txt").touch()
    for name in (f"{NAMES[0]}/98.jpg", f"{NAMES[1]}/99.png"):
        (path / name).write_bytes(b"no picture")
    with pytest.raises(ImageError) as refusal:
        datasets.read(path, skip_bad=False)
    assert "98.jpg" in str(refusal.value) and "99.png" in str(refusal.value)
    assert caplog.messages == [
        f"{path}: 1 folder passed over (__MACOSX)",
        f"{path / NAMES[0]}: 1 file passed over (.txt)",
    ]
    data = datasets.read(path, skip_bad=True)
    assert torch.equal(data.images, whole.images) and torch.equal(data.labels, whole.labels)


def test_a_folder_is_the_set_that_training_takes(tmp_path, caplog):
    """Folders beside an owner's pictures are passed over, and what has no picture is named."""
    path = folder_of(tmp_path / "set")
    deeper = path / "ana" / "old"
    deeper.mkdir()
    Image.fromarray(IMAGES[20]).save(deeper / "0.png")
    data, owners = datasets.read(path), sets.by_owner(path, skip_bad=False).found
    assert f"{path / 'ana'}: 1 folder passed over (old)" in caplog.messages
    assert data.names == tuple(owners)
    assert torch.bincount(data.labels).tolist() == [len(each.files) for each in owners.values()]
    before = datasets.digest(path)
    (deeper / "1.png").write_bytes(b"not looked at")
    assert datasets.digest(path) == before
    (path / "eve" / "photos").mkdir(parents=True)
    Image.fromarray(IMAGES[0]).save(path / "eve" / "photos" / "0.png")
    (path / "dora" / "35.png").write_bytes(b"no picture")
    for read in (datasets.read, sets.by_owner):
        with pytest.raises(ImageError) as refusal:
            read(path, skip_bad=False)
        assert "eve: holds no picture" in str(refusal.value) and "35.png" in str(refusal.value)
    left = sets.by_owner(path, skip_bad=True).found
    assert datasets.read(path, skip_bad=True).names == tuple(left) == NAMES


# --- Faces ----------------------------------------------------------------------------------------


@pytest.fixture
def faces(tmp_path):
    """Six pictures of two people, one without a face: as a folder, as an npz, and the aligner."""
    files = PublicFiles.at(
        encoder=drawn_faces.encoder(tmp_path / "e.onnx"),
        detector=drawn_faces.detector(tmp_path / "d.onnx"),
    )
    spec = spec_named("subspace-encoder", height=1, width=1, channels=3, files=files)
    pictures = [drawn_faces.person(n // 3, (100 + 8 * n, 120)) for n in range(6)]
    pictures[4] = drawn_faces.discs()
    for number, picture in enumerate(pictures):
        folder = tmp_path / "people" / ("ana", "ben")[number // 3]
        folder.mkdir(parents=True, exist_ok=True)
        picture.save(folder / f"{number}.png")
    arrays = np.stack([np.asarray(picture) for picture in pictures])
    np.savez(tmp_path / "people.npz", images=arrays, labels=np.arange(6) // 3, fact=np.arange(6))
    return tmp_path, aligner_for(spec, files), spec.image_shape


@pytest.mark.parametrize("name", ["people", "people.npz"])
def test_faces_are_cut_out_of_a_set_and_labels_stay_with_them(faces, name):
    folder, aligner, shape = faces
    told = []
    cut = datasets.faces_of(folder / name, aligner, shape, lambda *now: told.append(now))
    assert cut.data.labels.tolist() == [0, 0, 0, 1, 1]
    assert cut.data.images.shape == (5, 3, 16, 16)
    expected = aligner.cut(drawn_faces.person(1, (140, 120)), shape, "x")
    assert (cut.data.images[4] * 255).round().permute(1, 2, 0).numpy().tolist() == expected.tolist()
    (said,) = cut.left_out
    assert "no face was found" in said and ("4.png" in said or "image 4" in said)
    assert told[0] == ("find faces", 0, 6)
    if name.endswith("npz"):
        assert cut.data.facts["fact"].tolist() == [0, 1, 2, 3, 5]


def test_a_set_without_any_face_is_an_error(faces):
    folder, aligner, shape = faces
    np.savez(folder / "none.npz", images=IMAGES, labels=LABELS)
    with pytest.raises(ImageError, match="no face was found in any of its 40 images"):
        datasets.faces_of(folder / "none.npz", aligner, shape, lambda *_: None)

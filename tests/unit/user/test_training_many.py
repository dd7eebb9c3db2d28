"""Many owners trained in parallel: equal models, resumed runs, and refused ones."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from privedge.errors import PrivEdgeError, TrainingError
from privedge.ran.presets import preset
from privedge.user import checkpoint
from privedge.user.many import UNFINISHED, Job, train_all
from privedge.user.settings import settings_for
from privedge_lab.demo import digits

RAN32 = preset("ran32", height=32, width=32, channels=1)
SUBSPACE32 = preset("subspace32", height=32, width=32, channels=1, components=8)
SETTINGS = settings_for(RAN32, steps=20, batch=8, check_every=10)


@pytest.fixture(scope="module")
def given():
    return digits.load(0).train_images


def jobs_for(given, folder, owners=2) -> list[Job]:
    folder.mkdir(exist_ok=True)
    return [
        Job(f"owner-{digit}", given[digit][:20], RAN32, SETTINGS, folder / f"owner-{digit}.ran")
        for digit in range(owners)
    ]


def test_side_by_side_gives_the_same_files_as_one_after_the_other(given, tmp_path):
    one, other = jobs_for(given, tmp_path / "one"), jobs_for(given, tmp_path / "other")
    for job in one:
        (tmp_path / job.owner).mkdir()
        for number, image in enumerate(job.images):
            Image.fromarray(image).save(tmp_path / job.owner / f"{number:02}.png")
    list(train_all(one))
    seen = []
    # Files, and a folder of files, as owners have them.
    other[0] = replace(other[0], images=tuple(sorted((tmp_path / "owner-0").iterdir())))
    other[1] = replace(other[1], images=tmp_path / "owner-1")
    done = list(train_all(other, processes=2, watch=lambda *now: seen.append(now)))
    assert sorted(each.owner for each in done) == ["owner-0", "owner-1"]
    for first, second in zip(one, other, strict=True):
        assert first.out.read_bytes() == second.out.read_bytes()
        assert second.out.stat().st_mode & 0o777 == 0o600
    assert {(owner, step, steps) for owner, step, steps, _ in seen} == {
        (f"owner-{number}", step, 20) for number in (0, 1) for step in (10, 20)
    }
    assert sorted(file.name for file in (tmp_path / "other").iterdir()) == [
        "owner-0.ran",
        "owner-1.ran",
    ]


def test_what_is_missing_is_trained_and_the_rest_kept(given, tmp_path):
    whole = jobs_for(given, tmp_path / "whole", owners=3)
    list(train_all(whole))
    content = [job.out.read_bytes() for job in whole]
    whole[1].out.unlink()
    with pytest.raises(TrainingError, match="--resume"):
        next(train_all(whole))
    trained = []
    done = list(train_all(whole, resume=True, watch=lambda owner, *_: trained.append(owner)))
    assert {each.owner: each.reused for each in done} == {
        "owner-0": True,
        "owner-1": False,
        "owner-2": True,
    }
    assert set(trained) == {"owner-1"}
    assert [job.out.read_bytes() for job in whole] == content


@pytest.mark.parametrize("other", ["images", "settings", "spec"])
def test_a_model_of_something_else_is_neither_kept_nor_overwritten(given, tmp_path, other):
    (job,) = jobs_for(given, tmp_path / "models", owners=1)
    job = replace(job, spec=SUBSPACE32, settings=settings_for(SUBSPACE32))
    list(train_all([job]))
    before = job.out.read_bytes()
    more = preset("subspace32", height=32, width=32, channels=1, components=9)
    changed = {
        "images": replace(job, images=given[1][:20]),
        "settings": replace(job, settings=replace(job.settings, seed=1)),
        "spec": replace(job, spec=more),
    }[other]
    with pytest.raises(TrainingError, match="other images, preset or settings"):
        list(train_all([changed], resume=True))
    assert job.out.read_bytes() == before


def test_a_broken_off_owner_is_gone_on_with_to_the_same_model(given, tmp_path):
    settings = replace(SETTINGS, steps=510, batch=1, check_every=255)
    (whole,) = jobs_for(given, tmp_path / "whole", owners=1)
    (job,) = jobs_for(given, tmp_path / "models", owners=1)
    whole, job = replace(whole, settings=settings), replace(job, settings=settings)
    list(train_all([whole]))

    def stop(_owner, step, *_):
        if step == 510:  # after what is saved at step 500, before the end
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(train_all([job], watch=stop))
    assert [file.name for file in job.out.parent.iterdir()] == [job.out.name + UNFINISHED]
    steps = []
    list(train_all([job], resume=True, watch=lambda _, step, *rest: steps.append(step)))
    assert steps == [510]
    assert job.out.read_bytes() == whole.out.read_bytes()
    assert list(job.out.parent.iterdir()) == [job.out]


def test_a_killed_process_ends_in_one_line_and_leaves_nothing_half_written(given, tmp_path):
    long = replace(SETTINGS, steps=1_000_000)
    jobs = [replace(job, settings=long) for job in jobs_for(given, tmp_path / "models")]

    def kill(*_):
        # As if it was writing just then.
        being_written(jobs[0].out.with_name(jobs[0].out.name + UNFINISHED)).touch()
        for child in children():
            os.kill(child, signal.SIGKILL)

    with pytest.raises(TrainingError, match="too early") as caught:
        list(train_all(jobs, processes=2, watch=kill))
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "models").iterdir()) == []
    assert children() == []


def being_written(path: Path) -> Path:
    """Where private_file.write may be writing, before it renames."""
    return path.with_name(f".{path.name}.abcd_123.part")


def children() -> list[int]:
    """Those that train. Fixtures of other files may have a database running."""
    import psutil

    children = psutil.Process().children()
    return [child.pid for child in children if child.name().startswith("python")]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"owner": "Ana Maria"}, "letters, digits"),
        ({"images": np.zeros((0, 32, 32), np.uint8)}, r"^owner-1: images: none were given"),
    ],
)
def test_an_owners_fault_is_told_with_the_owners_name(given, tmp_path, changes, message):
    jobs = jobs_for(given, tmp_path / "models")
    jobs[1] = replace(jobs[1], **changes)
    with pytest.raises(PrivEdgeError, match=message):
        list(train_all(jobs))
    assert not jobs[1].out.exists()


def test_closed_forms_that_take_no_time_need_no_processes(given, tmp_path):
    jobs = [
        replace(job, spec=SUBSPACE32, settings=settings_for(SUBSPACE32))
        for job in jobs_for(given, tmp_path / "models", owners=3)
    ]
    for each in train_all(jobs, processes=2):
        assert children() == []
        assert checkpoint.load(each.out).owner == each.owner

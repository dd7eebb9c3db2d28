"""Training one owner's RAN on real digits: it learns, and training again gives the same RAN."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from privedge.errors import ImageError, RangeError, TrainingError
from privedge.ran.features import extract
from privedge.ran.model import Reconstructor
from privedge.ran.presets import preset
from privedge.ran.spec import RanSpec
from privedge.sharing.fixed_point import LIMIT
from privedge.user import checkpoint, subspace, threshold
from privedge.user.adversarial import Contest
from privedge.user.checkpoint import Ran
from privedge.user.fitting import TrainingStep, fit_ran
from privedge.user.saves import Saves
from privedge.user.settings import TrainSettings, settings_for
from privedge_lab.demo import digits

RAN32 = preset("ran32", height=32, width=32, channels=1)
SUBSPACE32 = preset("subspace32", height=32, width=32, channels=1, components=16)
QUICK = TrainSettings(steps=40, batch=8, check_every=10)


@pytest.fixture(scope="module")
def data():
    return digits.load(0)


def distances(ran: Ran, images: np.ndarray) -> np.ndarray:
    reconstructor = Reconstructor(ran.spec)
    values = {name: torch.from_numpy(value) for name, value in ran.parameters.items()}
    del values["threshold"]
    reconstructor.load_state_dict(values)
    return threshold.dissimilarities(reconstructor, extract(ran.spec, images))


def same(one: Ran, other: Ran) -> bool:
    return one.facts == other.facts and all(
        np.array_equal(value, other.parameters[name]) for name, value in one.parameters.items()
    )


@pytest.mark.parametrize(
    ("spec", "changes", "least"),
    [(SUBSPACE32, {}, 0.97), (RAN32, {"steps": 150}, 0.97)],
    ids=lambda value: getattr(value, "name", None),
)
def test_two_owners_digits_are_told_apart(data, spec: RanSpec, changes, least):
    rans = [
        fit_ran(data.train_images[digit], spec, settings_for(spec, **changes), f"owner-{digit}")
        for digit in (3, 8)
    ]
    asked = np.isin(data.test_labels, (3, 8))
    images, labels = data.test_images[asked], data.test_labels[asked]
    nearest = np.stack([distances(ran, images) for ran in rans]).argmin(axis=0)
    assert (np.array([3, 8])[nearest] == labels).mean() >= least


@pytest.mark.parametrize("name", ["ran32", "conv32", "subspace32", "subspace-writer"])
def test_a_trained_ran_is_one_that_can_be_saved(data, tmp_path, name):
    spec = preset(name, height=32, width=32, channels=1)
    changes = {} if name.startswith("subspace") else {"steps": 2, "batch": 4}
    images = data.train_images[1]
    if name == "subspace-writer":
        images = np.tile(images, (1, 2, 4))
    ran = fit_ran(images[:20], spec, settings_for(spec, **changes), "ana")
    checkpoint.save(ran, tmp_path / "ana.ran")
    assert same(checkpoint.load(tmp_path / "ana.ran"), ran)


@pytest.mark.parametrize("spec", [RAN32, SUBSPACE32], ids=lambda spec: spec.name)
def test_the_same_seed_gives_the_same_ran_bit_for_bit(data, spec):
    steps = 40 if spec is RAN32 else 0
    settings = replace(QUICK, steps=steps)
    first = fit_ran(data.train_images[0], spec, settings, "ana")
    torch.manual_seed(1234)
    np.random.seed(1234)
    assert same(first, fit_ran(data.train_images[0], spec, settings, "ana"))
    other = fit_ran(data.train_images[0], spec, replace(settings, seed=1), "ana")
    assert not same(first, other)


def test_training_leaves_the_callers_generator_and_threads_alone(data):
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    fit_ran(data.train_images[0], RAN32, QUICK, "ana")
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


class Interrupted(Exception):
    """Stands for a power cut."""


def test_an_interrupted_training_goes_on_to_the_very_same_result(data, tmp_path):
    settings = replace(QUICK, steps=60)
    whole = fit_ran(data.train_images[0], RAN32, settings, "ana")
    saves = Saves(tmp_path / "ana.unfinished", every=25)

    def stop(now: TrainingStep) -> None:
        if now.step == 40:
            raise Interrupted

    with pytest.raises(Interrupted):
        fit_ran(data.train_images[0], RAN32, settings, "ana", progress=stop, saving=saves)
    assert saves.path.stat().st_mode & 0o777 == 0o600
    steps = []
    resumed = fit_ran(
        data.train_images[0],
        RAN32,
        settings,
        "ana",
        progress=lambda now: steps.append(now.step),
        saving=replace(saves, resume=True),
    )
    assert steps == [30, 40, 50, 60]
    assert same(whole, resumed)


def test_an_unfinished_training_is_neither_overwritten_nor_mixed_up(data, tmp_path):
    saves = Saves(tmp_path / "ana.unfinished", every=10)
    resume = replace(saves, resume=True)
    mine = data.train_images[0]
    with pytest.raises(TrainingError, match="no unfinished training"):
        fit_ran(mine, RAN32, QUICK, "ana", saving=resume)
    fit_ran(mine, RAN32, QUICK, "ana", saving=saves)
    with pytest.raises(TrainingError, match="--resume"):
        fit_ran(mine, RAN32, QUICK, "ana", saving=saves)
    with pytest.raises(TrainingError, match="other images"):
        fit_ran(data.train_images[1], RAN32, QUICK, "ana", saving=resume)
    with pytest.raises(TrainingError, match="settings"):
        fit_ran(mine, RAN32, replace(QUICK, seed=5), "ana", saving=resume)
    with pytest.raises(TrainingError, match="steps done already, more than 5; give --steps"):
        fit_ran(mine, RAN32, replace(QUICK, steps=5), "ana", saving=resume)
    saves.path.write_bytes(saves.path.read_bytes()[:1000])
    with pytest.raises(TrainingError, match="damaged"):
        fit_ran(mine, RAN32, QUICK, "ana", saving=resume)


def test_the_ran_kept_is_the_best_on_validation_images(data):
    seen: list[TrainingStep] = []
    settings = replace(QUICK, steps=60, learning_rate=0.05)  # too fast: the error jumps about
    ran = fit_ran(data.train_images[0], RAN32, settings, "ana", progress=seen.append)
    best = min(seen, key=lambda now: now.validation_error)
    assert ran.facts["best_step"] == str(best.step)
    assert float(ran.facts["validation_mse"]) == pytest.approx(best.validation_error, rel=1e-4)


def test_without_adversarial_weight_no_discriminator_is_trained(data):
    with_it = fit_ran(data.train_images[0], RAN32, QUICK, "ana")
    without = fit_ran(data.train_images[0], RAN32, replace(QUICK, adversarial_weight=0.0), "ana")
    assert not same(with_it, without)


@pytest.mark.parametrize("loss", ["hinge", "features"])
def test_the_adversarial_term_may_be_another(data, loss):
    usual = fit_ran(data.train_images[0], RAN32, QUICK, "ana")
    other = replace(QUICK, adversarial_loss=loss, adversarial_weight=0.01)
    first, again = (fit_ran(data.train_images[0], RAN32, other, "ana") for _ in range(2))
    assert same(first, again)
    assert not same(first, usual)
    assert float(first.facts["validation_mse"]) < 2 * float(usual.facts["validation_mse"])


def test_a_training_that_diverges_says_so(data):
    with pytest.raises(TrainingError, match="diverged"):
        fit_ran(data.train_images[0], RAN32, replace(QUICK, learning_rate=1e30), "ana")


def test_c14_a_model_that_does_not_fit_the_ring_is_refused():
    reconstructor = Reconstructor(SUBSPACE32)
    features = np.zeros((1, 8, 8, 8), np.float32)
    mean = torch.zeros(512)
    state = {"0.basis": torch.zeros(16, 512), "0.mean": mean}
    mean[7] = LIMIT - 1
    reconstructor.load_state_dict(state)
    with pytest.raises(RangeError, match="dissimilarity"):
        threshold.dissimilarities(reconstructor, features)
    mean[7] = LIMIT
    reconstructor.load_state_dict(state)
    with pytest.raises(RangeError, match=r"parameter 0\.mean"):
        threshold.dissimilarities(reconstructor, features)


def test_a_threshold_is_a_quantile_of_own_errors_and_else_lets_everything_pass(data):
    images = data.train_images[0]
    without = fit_ran(images, SUBSPACE32, TrainSettings(), "ana")
    assert without.parameters["threshold"] == LIMIT - 1
    settings = TrainSettings(threshold_quantile=1.0)
    bound = fit_ran(images, SUBSPACE32, settings, "ana").parameters["threshold"][0]
    errors = distances(without, images)
    assert bound in errors  # the largest of the held-out ones
    assert bound < distances(without, data.train_images[1]).mean()


def test_a_few_images_are_learned_from_with_shifted_copies(data):
    few = data.train_images[4][:4]
    ran = fit_ran(few, SUBSPACE32, TrainSettings(), "ana")
    lengths = np.linalg.norm(ran.parameters["0.basis"], axis=1)
    assert np.allclose(lengths, 1, atol=1e-5)  # 3 images alone span only 2 directions
    assert distances(ran, few).mean() < distances(ran, data.train_images[1]).mean()


def test_components_beyond_the_images_are_zero(data):
    spec = preset("subspace32", height=32, width=32, channels=1, components=64)
    ran = fit_ran(np.stack([data.train_images[0][0]] * 5), spec, TrainSettings(), "ana")
    rows = np.linalg.norm(ran.parameters["0.basis"], axis=1)
    assert np.allclose(rows[:8], 1, atol=1e-5)
    assert not rows[8:].any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps"),
        ({"batch": 0}, "batch"),
        ({"threshold_quantile": 0.0}, "threshold"),
        ({"validation_share": 0.9}, "validation_share"),
    ],
)
def test_settings_out_of_range_are_refused(data, changes, message):
    with pytest.raises(TrainingError, match=message):
        fit_ran(data.train_images[0], RAN32, replace(QUICK, **changes), "ana")


def test_steps_are_not_for_a_closed_form(data):
    with pytest.raises(TrainingError, match="closed form"):
        fit_ran(data.train_images[0], SUBSPACE32, QUICK, "ana")


def test_no_image_or_a_wrong_name_or_size_are_refused(data):
    images = data.train_images[0]
    with pytest.raises(TrainingError, match="none were given"):
        fit_ran(images[:0], RAN32, QUICK, "ana")
    with pytest.raises(TrainingError, match="owner"):
        fit_ran(images, RAN32, QUICK, "Ana Maria")
    with pytest.raises(ImageError, match="expected uint8"):
        fit_ran(images[:, :16], RAN32, QUICK, "ana")


@pytest.mark.parametrize("spec", [SUBSPACE32, RAN32], ids=["closed form", "steps"])
@pytest.mark.parametrize("count", [1, 4])
def test_a_few_images_suffice_and_none_is_held_out(data, spec, count):
    settings = replace(QUICK, steps=0) if spec is SUBSPACE32 else QUICK
    images = data.train_images[0][:count]
    ran = fit_ran(images, spec, settings, "ana")
    assert (ran.facts["images"], ran.facts["held_out"]) == (str(count), "0")
    assert "validation_mse" not in ran.facts
    assert all(np.isfinite(value).all() for value in ran.parameters.values())
    with pytest.raises(TrainingError, match="threshold quantile: needs 5 images"):
        fit_ran(images, spec, replace(settings, threshold_quantile=0.9), "ana")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
def test_asking_for_a_cuda_that_is_not_there_says_so(data):
    with pytest.raises(TrainingError, match="no CUDA"):
        fit_ran(data.train_images[0], RAN32, replace(QUICK, device="cuda"), "ana")


def test_digits_are_split_by_seed_into_disjoint_images(data):
    assert sum(map(len, data.train_images.values())) + len(data.test_images) == 1797
    assert data.test_images.shape[1:] == (32, 32)
    assert data.test_images.max() == 255
    again, other = digits.load(0), digits.load(1)
    assert np.array_equal(again.test_images, data.test_images)
    assert not np.array_equal(other.test_labels, data.test_labels)


@pytest.mark.parametrize("name", ["unknown", "UnKnown"])
def test_w48_nobody_trains_for_an_owner_called_like_the_answer_for_strangers(data, name):
    with pytest.raises(TrainingError, match=r"not unknown, the answer for strangers$"):
        fit_ran(data.train_images[0], RAN32, QUICK, name)


FINE = preset("ran32-fine", height=32, width=32, channels=1)


@pytest.mark.parametrize("count", [3, 40])
def test_a_network_that_starts_from_components_is_the_linear_reconstructor(data, count):
    """On these features; also with fewer of them than components."""
    features = extract(FINE, data.train_images[3][:count])
    flat = features.reshape(count, -1)
    contest = Contest(FINE, settings_for(FINE), torch.device("cpu"))
    contest.start_linear(FINE, features)
    basis, mean = subspace.fit(flat, 64)
    network = Reconstructor(FINE)
    network.load_state_dict(contest.best())
    with torch.no_grad():
        got = network(torch.from_numpy(features)).reshape(count, -1)
    np.testing.assert_allclose(got, mean + (flat - mean) @ basis.T @ basis, atol=1e-4)


def test_training_from_components_keeps_only_what_is_better_on_validation_images(data):
    errors: list[float] = []
    settings = settings_for(FINE, steps=20, check_every=10)
    ran = fit_ran(
        data.train_images[3],
        FINE,
        settings,
        "ana",
        progress=lambda n: errors.append(n.validation_error),
    )
    ruined = fit_ran(data.train_images[3], FINE, replace(settings, learning_rate=1.0), "ana")
    assert float(ran.facts["validation_mse"]) <= min(errors)
    assert ruined.facts["best_step"] == "0"


def test_only_one_hidden_layer_can_start_from_components(data):
    with pytest.raises(TrainingError, match="ran32 is no network of one hidden layer"):
        fit_ran(data.train_images[3], RAN32, replace(QUICK, start="components"), "ana")

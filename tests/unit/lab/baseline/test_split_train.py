"""Training a network that will be cut, on scikit-learn's digits."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from privedge.errors import TrainingError
from privedge.ran.images import fit
from privedge.ran.spec import ImageShape
from privedge_lab.baseline.defence import Defence, Device
from privedge_lab.baseline.draws import KEY_BYTES
from privedge_lab.baseline.network import head, tail
from privedge_lab.baseline.presets import cifar, lenet
from privedge_lab.baseline.train import Trainee, TrainSettings, _moved, accuracy, train
from privedge_lab.datasets import Labelled, from_arrays, split

KEY = bytes(KEY_BYTES)


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    small = np.rint(data.images * (255 / 16)).astype(np.uint8)
    images = fit(small, ImageShape(height=28, width=28, channels=1))
    return split(from_arrays(images, data.target), seed=1)


def test_a_trained_network_labels_unseen_digits_through_its_device(digits):
    seen = []
    network = train(
        Trainee(lenet(), "relu2", Defence(), KEY),
        digits.train,
        TrainSettings(epochs=3),
        progress=lambda progress: seen.append(progress.epoch),
    )
    device = Device(head(network, "relu2"), Defence(), KEY)
    assert accuracy(device, tail(network, "relu2"), digits.test) > 0.9
    assert seen == [1, 2, 3]


def test_the_same_seed_gives_the_same_weights(digits):
    few = digits.train.take(torch.arange(64))
    trainee = Trainee(lenet(), "conv1", Defence(), KEY)
    one, two = (train(trainee, few, TrainSettings(epochs=1)).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_images_of_another_size_are_refused(digits):
    with pytest.raises(TrainingError, match="needs images of"):
        train(Trainee(cifar(), "conv11", Defence(), KEY), digits.train, TrainSettings())


def test_more_classes_than_outputs_are_refused(digits):
    many = Labelled(digits.train.images, digits.train.labels + 5)
    with pytest.raises(TrainingError, match="10 classes"):
        train(Trainee(lenet(), "conv1", Defence(), KEY), many, TrainSettings())


def test_images_shown_mirrored_and_moved_still_train(digits):
    few = digits.train.take(torch.arange(640))
    trainee = Trainee(lenet(), "relu2", Defence(), KEY)
    network = train(trainee, few, TrainSettings(epochs=3, shift=1))
    device = Device(head(network, "relu2"), Defence(), KEY)
    assert accuracy(device, tail(network, "relu2"), digits.test) > 0.8


def test_a_moved_image_is_the_image_elsewhere():
    images = torch.zeros((20, 2, 9, 9))
    images[:, 1, 4, 4] = 1
    moved = _moved(images, 2, torch.Generator().manual_seed(1))
    assert moved.shape == images.shape
    assert torch.equal(moved.sum((2, 3)), images.sum((2, 3)))
    places = {tuple(place.tolist()) for place in moved[:, 1].nonzero()[:, 1:]}
    assert len(places) > 5 and all(2 <= side <= 6 for place in places for side in place)

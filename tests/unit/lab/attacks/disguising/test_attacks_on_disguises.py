"""What adversaries get of disguised images: made ones, and scikit-learn's digits."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from privedge_lab.attacks.disguising.codebook import codebook
from privedge_lab.attacks.disguising.known_pairs import recover, regress
from privedge_lab.attacks.disguising.leaks import background
from privedge_lab.attacks.disguising.membership import membership
from privedge_lab.attacks.disguising.reidentification import adaptive, visual
from privedge_lab.attacks.views import DisguisedNetworkView, DisguisedView, KnownPairsView
from privedge_lab.datasets import from_arrays, split
from privedge_lab.disguise.blocks import grid
from privedge_lab.disguise.disguise import Disguise
from privedge_lab.disguise.keys import DisguiseKey
from privedge_lab.disguise.settings import Aes, Permutation, Rmt, Sized

SECRET = bytes(range(1, 33))


def textured(image, count, seed=0):
    """Uniform noise, whole 255ths, float64: every block has full rank."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, *image), generator=generator).double() / 255


def level_2(settings, image, pairs, *, count=3, made=textured):
    """The view and the images behind it."""
    sized = Sized(settings=settings, image=image)
    mine = Disguise(DisguiseKey(sized, SECRET))
    known, images = made(image, pairs, seed=1), made(image, count, seed=2)
    return KnownPairsView(mine.apply(images), sized, known, mine.apply(known)), images


@pytest.mark.parametrize("image", [(1, 28, 28), (3, 30, 18)])
@pytest.mark.parametrize(
    ("settings", "pairs"),
    [
        (Rmt(shuffle=False), 1),
        (Rmt(shuffle=True), 1),
        (Rmt(block=7, matrix="projection", shuffle=False), 1),
        (Rmt(block=3, matrix="projection", shuffle=True), 2),
        (Permutation(block=5), 1),
    ],
)
def test_known_full_rank_pairs_give_the_key_and_all_images(image, settings, pairs):
    view, images = level_2(settings, image, pairs)
    key = regress(view)
    assert (recover(key, view.disguised) - images).abs().max() < 1e-6


def test_the_matrices_found_are_those_of_the_key():
    view, _ = level_2(Rmt(block=7, shuffle=False), (1, 28, 28), 1)
    mine = Disguise(DisguiseKey(view.sized, SECRET))
    units = torch.eye(7, dtype=torch.float64).repeat(4, 4)[None, None]
    truth = grid(view.sized).cut(mine.apply(units))[0, 0]
    key = regress(view)
    assert (key.matrices - truth).abs().max() < 1e-6
    assert key.ranks.tolist() == [7] * 16


def test_float32_images_give_the_key_to_their_own_precision():
    view, images = level_2(Rmt(), (1, 28, 28), 3)
    seen = KnownPairsView(
        view.disguised.float(), view.sized, view.known.float(), view.known_disguised.float()
    )
    assert (recover(regress(seen), seen.disguised) - images).abs().max() < 1 / 510


def test_directions_no_known_image_shows_stay_unknown():
    settings = Rmt(block=4, shuffle=False)

    def dark(image, count, seed):
        return textured(image, count, seed) * (torch.arange(8) % 4 < 3)

    view, images = level_2(settings, (1, 8, 8), 1, made=dark)
    key = regress(view)
    assert key.ranks.tolist() == [3] * 4
    assert (recover(key, view.disguised) - images).abs().max() < 1e-6


def test_noise_costs_the_adversary_pairs_and_hides_little():
    few, images = level_2(Rmt(noise=0.2, shuffle=False), (1, 8, 8), 1, count=20)
    many, _ = level_2(Rmt(noise=0.2, shuffle=False), (1, 8, 8), 200, count=20)
    errors = [
        float((recover(regress(view), view.disguised) - images).square().mean().sqrt())
        for view in (few, many)
    ]
    # The noise itself has a standard deviation of 0.2 / sqrt(12) = 0.058. One pair leaves a
    # direction open, because the noise's mean is unknown too.
    assert errors[1] < 0.065
    assert errors[0] > 0.08


def coarse(image, count, seed):
    """Images of few kinds of blocks on a black background."""
    generator = torch.Generator().manual_seed(seed)
    shades = torch.randint(0, 3, (count, image[0], 7, 7), generator=generator)
    shades *= torch.rand((count, 1, 7, 7), generator=generator) < 0.5
    return shades.float().repeat_interleave(4, 2).repeat_interleave(4, 3) / 2


@pytest.mark.parametrize("keys", ["one", "each"])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("image", [(1, 28, 28), (3, 28, 28)])
def test_a_codebook_reads_every_block_it_has_seen(keys, shuffle, image):
    view, images = level_2(Aes(keys=keys, shuffle=shuffle), image, 40, made=coarse)
    found = codebook(view)
    assert found.hits.double().mean() > 0.95
    cells = grid(view.sized)
    right = (cells.cut(found.images) == cells.cut(images)).all(-1).all(-1)
    assert right[found.hits].all()
    assert (found.images[~found.hits.any(2).any(1)] == 0.5).all()


def test_a_codebook_knows_nothing_of_blocks_it_never_saw():
    view, _ = level_2(Aes(), (1, 8, 8), 5, made=lambda *a, **k: textured(*a, **k).float())
    found = codebook(view)
    assert not found.hits.any() and (found.images == 0.5).all()


def test_each_attack_refuses_the_other_kind_of_disguise():
    linear, _ = level_2(Rmt(), (1, 8, 8), 1)
    aes, _ = level_2(Aes(), (1, 8, 8), 1, made=coarse_8)
    with pytest.raises(ValueError, match="regression"):
        codebook(linear)
    with pytest.raises(ValueError, match="codebook"):
        regress(aes)


def coarse_8(image, count, seed):
    return coarse((1, 28, 28), count, seed)[:, :, :8, :8]


@pytest.mark.parametrize("keys", ["one", "each"])
def test_frequencies_of_ciphertexts_show_the_silhouette(keys):
    images = coarse((1, 28, 28), 200, 3)
    sized = Sized(settings=Aes(keys=keys), image=(1, 28, 28))
    cells = grid(sized)
    sent = Disguise(DisguiseKey(sized, SECRET)).apply(images)
    found = background(cells.cut_disguised(sent), one_key=keys == "one")
    assert torch.equal(found, (cells.cut(images) == 0).all(-1).all(-1))


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    return split(
        from_arrays(np.rint(data.images * (255 / 16)).astype(np.uint8), data.target), seed=1
    )


@pytest.mark.parametrize(
    ("settings", "least"),
    [
        (Rmt(block=2), 0.8),
        (Rmt(block=2, shuffle=False), 0.9),
        (Rmt(block=2, matrix="projection", shuffle=False), 0.5),
        (Permutation(block=2), 0.8),
        (Aes(block=1), 0.5),
    ],
)
def test_what_a_disguise_leaves_unchanged_tells_the_digit(digits, settings, least):
    sized = Sized(settings=settings, image=(1, 8, 8))
    sent = Disguise(DisguiseKey(sized, SECRET)).apply(digits.test.images)
    guesses = adaptive(DisguisedView(sent, sized, digits.train), seed=0)
    assert (guesses == digits.test.labels).double().mean() > least


class _Lit(nn.Sequential):
    """Says how many quarters of the image are lit, as logits of 5 classes."""

    def forward(self, images):
        lit = nn.functional.avg_pool2d(images, 4).flatten(1).gt(0.5).sum(1)
        return nn.functional.one_hot(lit, 5).float()


def test_visual_reidentification_is_what_a_plain_classifier_says():
    images = torch.zeros((3, 1, 8, 8))
    images[1, :, :4] = images[2] = 1
    data = from_arrays(np.zeros((1, 8, 8), np.uint8), np.zeros(1, np.int64))
    view = DisguisedView(images, Sized(settings=Permutation(), image=(1, 8, 8)), data)
    assert visual(view, _Lit()).tolist() == [0, 2, 4]


def test_membership_tells_clustered_labels_from_even_ones(digits):
    sized = Sized(settings=Permutation(block=2), image=(1, 8, 8))

    class Even(nn.Sequential):
        def forward(self, images):
            return nn.functional.one_hot(torch.arange(len(images)) % 10, 10).float()

    class Constant(nn.Sequential):
        def forward(self, images):
            return nn.functional.one_hot(torch.full((len(images),), 3), 10).float()

    many = digits.train.take(digits.train.labels.sort(stable=True).indices)
    even = membership(DisguisedNetworkView(Even(), sized, many))
    constant = membership(DisguisedNetworkView(Constant(), sized, many))
    assert min(even.entropy) > 0.99 and max(even.fano) < 0.1
    assert max(constant.entropy) == 0 and min(constant.fano) > 1
    assert even.counts.sum() == constant.counts[:, 3].sum() == len(many)
    assert constant.accuracy == pytest.approx(float((many.labels == 3).double().mean()))

"""The transforms: what they keep, what they hide, and that their owner can undo them."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from privedge.errors import ImageError
from privedge_lab.baseline.shifts import with_shifts
from privedge_lab.datasets import Labelled
from privedge_lab.disguise.blocks import Grid, grid
from privedge_lab.disguise.disguise import Disguise
from privedge_lab.disguise.keys import DisguiseKey, KeyStream
from privedge_lab.disguise.rmt import RmtTransform
from privedge_lab.disguise.settings import Aes, Permutation, Rmt, Sized
from tests.chance import SIGMAS

SECRET = bytes(range(32))


def disguise(kind, image=(1, 28, 28), secret=SECRET):
    return Disguise(DisguiseKey(Sized(settings=kind, image=image), secret))


def pictures(image, count=2, seed=0):
    """Whole 255ths, as from a file."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, *image), generator=generator).float() / 255


IMAGES = st.tuples(st.sampled_from((1, 3)), st.integers(1, 19), st.integers(1, 19))
KINDS = st.one_of(
    st.builds(
        Rmt,
        block=st.integers(2, 9),
        matrix=st.sampled_from(("orthogonal", "projection")),
        shuffle=st.booleans(),
    ),
    st.builds(Permutation, block=st.integers(1, 9)),
    st.builds(
        Aes,
        block=st.sampled_from((1, 2, 4)),
        keys=st.sampled_from(("one", "each")),
        shuffle=st.booleans(),
    ),
)


@settings(deadline=None, max_examples=30)
@given(kind=KINDS, image=IMAGES, secret=st.binary(min_size=32, max_size=32))
def test_the_owner_gets_images_of_any_size_and_colour_back(kind, image, secret):
    images = pictures(image)
    mine = disguise(kind, image, secret)
    sent = mine.apply(images.double() if isinstance(kind, Rmt) else images)
    assert tuple(sent.shape[1:]) == mine.shape == grid(Sized(settings=kind, image=image)).disguised
    torch.testing.assert_close(mine.undo(sent).float(), images, rtol=0, atol=1e-6)


@settings(deadline=None, max_examples=60)
@given(image=IMAGES, block=st.integers(1, 9), enlargement=st.integers(1, 4))
def test_padding_is_zero_centred_and_less_than_a_block(image, block, enlargement):
    it = Grid(image, block, enlargement)
    images = pictures(image) + 0.1
    padded = it.join(it.cut(images))
    assert all(
        0 <= more - less < block for more, less in zip(padded.shape, images.shape, strict=True)
    )
    top, left = ((padded.shape[at] - images.shape[at]) // 2 for at in (2, 3))
    inside = padded[:, :, top : top + image[1], left : left + image[2]]
    assert torch.equal(inside, images) and torch.equal(it.crop(padded), images)
    assert math.isclose(float(padded.sum()), float(images.sum()), rel_tol=1e-5)
    assert tuple(it.undisguised(images).shape[1:]) == it.disguised


@settings(deadline=None, max_examples=30)
@given(secret=st.binary(min_size=32, max_size=32), block=st.integers(2, 28))
def test_orthogonal_matrices_are_orthogonal_and_each_position_has_its_own(secret, block):
    matrices = RmtTransform(secret, Rmt(block=block), 3).matrices
    gram = matrices @ matrices.transpose(1, 2)
    torch.testing.assert_close(gram, torch.eye(block).double().expand_as(gram), atol=1e-12, rtol=0)
    assert not torch.allclose(matrices[0], matrices[1])


def test_orthogonal_matrices_are_haar_distributed():
    # Of a Haar matrix the trace has mean 0 and variance 1; QR without the signs has mean below 0.
    matrices = RmtTransform(SECRET, Rmt(block=3), 4000).matrices
    traces = matrices.diagonal(dim1=1, dim2=2).sum(1)
    assert abs(traces.mean()) < SIGMAS / math.sqrt(4000)
    assert abs(traces.var() - 1) < 0.15
    assert abs(torch.linalg.det(matrices).mean()) < SIGMAS / math.sqrt(4000)


def test_projections_are_positive_and_can_be_inverted():
    matrices = RmtTransform(SECRET, Rmt(block=7, matrix="projection"), 50).matrices
    assert matrices.min() >= 0 and matrices.max() < 1
    assert torch.linalg.cond(matrices).max() < 1e4


def test_a_block_is_multiplied_from_the_right_and_colours_share_its_matrix():
    images = pictures((3, 4, 4))
    sent = disguise(Rmt(shuffle=False), (3, 4, 4)).apply(images)
    (matrix,) = RmtTransform(SECRET, Rmt(), 1).matrices
    torch.testing.assert_close(sent, (images.double() @ matrix).float())


def test_aes_is_the_ecb_of_the_raster_of_each_block():
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    images = pictures((3, 8, 4), count=1)
    sent = disguise(Aes(), (3, 8, 4)).apply(images)
    key = KeyStream(SECRET, "aes key").octets(16)
    raster = (images[0, 2, 4:] * 255).round().to(torch.uint8).numpy().tobytes()
    expected = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(raster)
    assert (sent[0, 2, 4:] * 255).round().to(torch.uint8).numpy().tobytes() == expected


def test_one_aes_key_repeats_equal_blocks_everywhere_and_one_for_each_does_not():
    black = torch.zeros((1, 1, 8, 8))
    for keys, distinct in (("one", 1), ("each", 4)):
        it = disguise(Aes(keys=keys), (1, 8, 8))
        blocks = Grid((1, 8, 8), 4).cut(it.apply(black))[0, 0]
        assert len(blocks.unique(dim=0)) == distinct


def test_small_aes_blocks_are_enlarged():
    assert disguise(Aes(block=2)).shape == (1, 56, 56)
    assert disguise(Aes(block=1), (3, 5, 6)).shape == (3, 20, 24)


def test_a_permutation_moves_blocks_and_changes_none():
    images = pictures((1, 28, 28), count=1)
    sent = disguise(Permutation(block=4)).apply(images)
    before, after = (Grid((1, 28, 28), 4).cut(x)[0, 0].flatten(1) for x in (images, sent))
    assert not torch.equal(before, after)
    assert torch.equal(before.unique(dim=0), after.unique(dim=0))


@pytest.mark.parametrize("kind", [Rmt(), Rmt(matrix="projection"), Permutation(), Aes()])
def test_a_key_always_gives_the_same_and_another_key_something_else(kind):
    images = pictures((1, 28, 28))
    sent = disguise(kind).apply(images)
    assert torch.equal(sent, disguise(kind).apply(images))
    assert not torch.allclose(sent, disguise(kind, secret=bytes(32)).apply(images))


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("channels", [1, 3])
def test_noise_is_fresh_for_every_image_and_call_and_inside_its_width(when, channels):
    image = (channels, 30, 30)
    images = pictures(image, count=1).expand(2, -1, -1, -1)
    kind = Rmt(noise=0.3, noise_when=when)
    mine, without = disguise(kind, image), disguise(Rmt(), image)
    first, second = mine.apply(images), mine.apply(images)
    assert not torch.equal(first, second) and not torch.equal(first[0], first[1])
    found = first - without.apply(images) if when == "after" else mine.undo(first) - images
    assert found.min() > -1e-5 and found.max() < 0.3 + 1e-5
    # Five standard errors of the mean; 1800 values a channel at least.
    assert abs(found.mean() - 0.15) < SIGMAS * 0.3 / math.sqrt(12 * found.numel())


def test_rotated_pixels_are_never_clipped():
    sent = disguise(Rmt()).apply(torch.ones((1, 1, 28, 28)))
    assert sent.min() < 0 and sent.max() > 1 and sent.dtype == torch.float32


def test_images_of_another_size_are_refused():
    with pytest.raises(ImageError, match=r"for images of \(1, 28, 28\)"):
        disguise(Aes()).apply(torch.zeros((1, 1, 28, 32)))


def test_shifted_copies_are_the_image_somewhere_else():
    images = torch.zeros((5, 3, 28, 30))
    images[:, :, 10:12, 14:16] = pictures((3, 2, 2), 5) + 0.1
    data = Labelled(images, torch.arange(5), {"writer": torch.arange(5) * 2})
    more = with_shifts(data, 2, torch.Generator().manual_seed(1))
    assert torch.equal(more.images[:5], images) and torch.equal(
        more.labels, torch.arange(5).repeat(3)
    )
    assert more.facts["copy"].tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert torch.equal(more.facts["writer"], 2 * more.labels)
    assert not torch.equal(more.images[5:10], more.images[10:])
    patches = more.images.unfold(2, 2, 1).unfold(3, 2, 1)[:, :, 8:13, 12:17]
    for patch, label in zip(patches, more.labels, strict=True):
        wanted = images[label, :, 10:12, 14:16]
        assert (patch.permute(1, 2, 0, 3, 4) == wanted).all(-1).all(-1).all(-1).any()

"""The recording of a private run: complete, right about what it says, and of no use by itself."""

import numpy as np
import pytest
import torch

from parties.mpc.predict import Rule, predict
from parties.mpc.widening import packed, unpacked
from privedge.errors import ShareError
from privedge.ran.narrow import word_bits
from privedge.ran.spec import RanSpec
from privedge.sharing.ring import RING_BITS, Words
from privedge_lab.attacks.both_parties import Asked, BothParties
from privedge_lab.reference.clear import ClearEngine
from tests.unit.mpc.models import SPECS, batch, cohort

OWNERS = 3


def served(spec: RanSpec, randomness: str) -> tuple[Asked, Words, dict[str, Words]]:
    models, images = cohort(spec, OWNERS), batch(spec, 3)
    parties = BothParties(spec, models, Rule(margin=1.0), randomness=randomness)
    return parties.ask(images), images, models


@pytest.fixture(
    scope="module",
    params=[(0, "dealer"), (2, "dealer"), (2, "two-party")],
    ids=["every-conv", "subspace", "two-party"],
)
def case(request) -> tuple[RanSpec, str]:
    number, randomness = request.param
    return SPECS[number], randomness


@pytest.fixture(scope="module")
def randomness(case) -> str:
    return case[1]


@pytest.fixture(scope="module")
def run(case) -> tuple[RanSpec, Asked, Words, dict[str, Words]]:
    return case[0], *served(*case)


def test_recorded_parties_answer_as_the_clear_model_does(run):
    spec, asked, images, models = run
    clear = predict(
        ClearEngine(),
        spec,
        {name: torch.from_numpy(words.view(np.int64)) for name, words in models.items()},
        torch.from_numpy(images.view(np.int64)),
        Rule(margin=1.0),
    )
    assert torch.equal(asked.answers, clear)


def test_both_views_together_are_everything(run):
    spec, asked, images, models = run
    first, second = asked.views
    whole = torch.from_numpy(images.view(np.int64))
    assert torch.equal(first.image_share + second.image_share, whole)
    for name, words in models.items():
        there = torch.from_numpy(words.view(np.int64))
        assert torch.equal(first.weights[name] + second.weights[name], there)
    # The first thing opened is the image minus the first mask; or plus the mask, if its words are
    # narrow.
    size, bits = whole[0].numel(), word_bits(spec)
    mask = (first.masks + second.masks)[:, :size]
    if bits == RING_BITS:
        assert torch.equal((first.sent + first.received)[:, :size] + mask, whole.reshape(-1, size))
    else:
        for number, image in enumerate(whole.reshape(-1, size)):
            sent, received = (
                unpacked(words[number, : packed(image, bits).numel()], bits, size)
                for words in (first.sent, first.received)
            )
            opened = sent + received - (1 << (bits - 2)) - mask[number]
            assert torch.equal(opened % (1 << bits), image % (1 << bits))
    assert torch.equal(first.sent, second.received)
    assert torch.equal(second.sent, first.received)


def test_the_weights_are_opened_once_before_the_queries_and_without_a_dealer_never(run, randomness):
    _, asked, *_ = run
    opened = [view.masked_weights for view in asked.views]
    assert opened[0].keys() == opened[1].keys()
    assert bool(opened[0]) == (randomness == "dealer")
    assert all(torch.equal(opened[0][name], opened[1][name]) for name in opened[0])


def test_no_two_queries_share_a_seed_a_mask_or_an_opening(run, randomness):
    _, asked, *_ = run
    # What a query's masks come from: a seed that the dealer has too, or messages of the two.
    sources = [view.seeds if randomness == "dealer" else view.making for view in asked.views]
    for view, source in zip(asked.views, sources, strict=True):
        # What is made together has the same messages.
        assert len({tuple(words.tolist()) for words in source}) == (
            len(source) if randomness == "dealer" else 1
        )
        assert view.seeds.shape[1] == (4 if randomness == "dealer" else 0)
        for words in (view.masks, view.image_share.flatten(1)):
            assert not (words[0] == words[1]).all()
    assert not torch.equal(*sources)


def test_what_one_party_got_while_randomness_was_made_is_what_the_other_one_sent(run, randomness):
    _, asked, *_ = run
    first, second = (view.making for view in asked.views)
    assert bool(first.shape[1]) == (randomness == "two-party")
    # Both have recorded the same messages, each those first that it got.
    assert torch.equal(first.sort(1).values, second.sort(1).values)
    assert torch.equal(first, second) == (randomness == "dealer")


def test_a_recording_hides_its_words_from_repr(run):
    assert "tensor" not in repr(run[1])


def test_long_parts_are_cut_on_request():
    spec = SPECS[2]
    whole = BothParties(spec, cohort(spec, 2), Rule(margin=1.0)).ask(batch(spec, 1))
    cut = BothParties(spec, cohort(spec, 2), Rule(margin=1.0), keep=8).ask(batch(spec, 1))
    assert cut.views[0].masks.shape[1] < whole.views[0].masks.shape[1]
    assert cut.views[0].image_share.shape == whole.views[0].image_share.shape


def test_a_party_that_fails_stops_both():
    spec = SPECS[2]
    parties = BothParties(spec, cohort(spec, 2), Rule(margin=1.0))
    with pytest.raises(ShareError):
        parties.ask(batch(spec, 1).reshape(1, -1)[:, :-1].copy())

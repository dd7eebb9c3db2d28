"""One semi-honest (honest-but-curious) party learns nothing from everything that it sees.

docs/protocol.md#who-sees-what has the argument. Each attack is also run against CrypTen's way of
making masks (docs/explanation/references.md#crypten), and succeeds there. So if an attack finds
nothing, that is not the fault of the test.
"""

import numpy as np
import pytest
import torch

from parties.mpc.crypten_backend.install import install
from parties.mpc.crypten_backend.load import ArithmeticSharedTensor
from parties.mpc.engine import Weight
from parties.mpc.predict import Rule, predict
from privedge.sharing.fixed_point import encode
from privedge.sharing.split import split
from tests.chance import SIGMAS, chi_square
from tests.unit.mpc.mersenne import MASKS_NEEDED, clone, cryptens_masks, predicted
from tests.unit.mpc.models import SPECS, batch, cohort
from tests.unit.mpc.pair import View, as_tensor, as_words, run


def guesses(view: View, known: list[torch.Tensor]) -> list[np.ndarray]:
    """Every opening, alone and with every mask added at either end: Beaver opens x - a, y - b."""
    found = []
    for opening in view.opened:
        found.append(as_words(opening))
        for mask in known:
            size = mask.numel()
            if size <= opening.numel():
                found += [as_words(part + mask.reshape(-1)) for part in _ends(opening, size)]
    return found


def _ends(opening: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    return opening[:size], opening[-size:]


def recovers(secret: np.ndarray, found: list[np.ndarray]) -> bool:
    """Whether any guess holds the secret, as it is, anywhere."""
    flat = secret.reshape(-1)
    return any(
        guess.size >= flat.size and (guess.reshape(-1)[: flat.size] == flat).all()
        for guess in found
    )


@pytest.fixture
def query() -> np.ndarray:
    return encode(np.random.default_rng(0).uniform(-1, 1, size=(1, 3, 64)))


def product(engine, x, weight):
    return engine.dense_back(x, Weight("weight", weight))


def test_a_curious_party_0_recovers_nothing_under_our_provider(query):
    weight = encode(np.random.default_rng(1).normal(size=(1, 64, 5)))
    view = run(product, query, weight).views[0]
    kept = [mask for _, shares in view.tuples for mask in (*shares.free, *shares.derived)]
    assert kept
    found = guesses(view, kept)
    assert not recovers(query, found)
    assert not recovers(weight, found)


def test_the_same_harness_recovers_query_and_model_under_cryptens_tfp(query, monkeypatch):
    weight = encode(np.random.default_rng(1).normal(size=(1, 64, 5)))
    kept = draw_masks_as_tfp_does(monkeypatch)
    view = run(product, query, weight).views[0]
    found = guesses(view, kept)
    assert recovers(query, found)
    assert recovers(weight, found)


def draw_masks_as_tfp_does(monkeypatch) -> list[torch.Tensor]:
    """Make the engine use CrypTen's own TrustedFirstParty; returns the list of masks that party 0
    drew for it and keeps.
    """
    import crypten
    from crypten.mpc.provider import TrustedFirstParty, tfp_provider

    kept: list[torch.Tensor] = []
    original = tfp_provider.generate_random_ring_element

    def kept_by_party_0(size, *args, **kwargs):
        mask = original(size, *args, **kwargs)
        if crypten.communicator.get().get_rank() == 0:
            kept.append(mask.clone())
        return mask

    provider = TrustedFirstParty()
    monkeypatch.setitem(
        crypten.generators["local"], torch.device("cpu"), torch.Generator().manual_seed(1)
    )
    monkeypatch.setattr(tfp_provider, "generate_random_ring_element", kept_by_party_0)
    install()
    monkeypatch.setattr(crypten.mpc, "get_default_provider", lambda: provider)
    return kept


def test_the_cloning_attack_predicts_every_mask_of_a_torch_generator():
    masks = cryptens_masks(seed=1234, count=MASKS_NEEDED + 1000)
    generator = clone(masks[:MASKS_NEEDED])
    assert (predicted(generator, 1000) == masks[MASKS_NEEDED:]).sum() == 1000


def test_the_cloning_attack_predicts_no_mask_of_ours():
    # A client submits a query it knows and tells party 0 the share it gave party 1. Party 1 sends
    # share - mask, so party 0 reads party 1's masks, clones the generator and waits for others.
    known = encode(np.linspace(-1, 1, MASKS_NEEDED + 1000))
    halves = split(known)

    def program(engine, x):
        share = as_tensor(halves[engine.party])
        return engine.square(ArithmeticSharedTensor.from_shares(share, precision=0))

    outcome = run(program, known)
    theirs = as_words(outcome.views[0].received[0])
    masks = halves[1] - theirs
    true_masks = as_words(outcome.views[1].tuples[0][1].free[0])
    assert (masks == true_masks).all()  # up to here the attack works: these masks are spent

    generator = clone(masks[:MASKS_NEEDED])
    assert (predicted(generator, 1000) == masks[MASKS_NEEDED:]).sum() == 0


@pytest.fixture(scope="module")
def seen() -> View:
    """Party 0's view of a whole query against three owners."""
    spec = SPECS[0]
    parameters = cohort(spec, 3)
    names = list(parameters)

    def program(engine, x, *stacked):
        return predict(engine, spec, dict(zip(names, stacked, strict=True)), x, Rule(margin=0.9))

    return run(program, batch(spec, 40), *parameters.values()).views[0]


def is_bits(words: np.ndarray) -> bool:
    return bool((words <= 1).all())


def test_everything_received_is_uniform(seen):
    received = [as_words(words) for words in seen.received]
    words = np.concatenate([part for part in received if not is_bits(part)])
    bits = np.concatenate([part for part in received if is_bits(part)])
    assert words.size > 100_000
    assert bits.size > 1_000
    for shift in range(0, 64, 8):
        assert abs(chi_square(words, shift)) < SIGMAS
    ones = float(bits.sum())
    assert abs(ones - bits.size / 2) < SIGMAS * np.sqrt(bits.size) / 2


def test_everything_opened_is_uniform(seen):
    additive = [
        as_words(mine + theirs)
        for mine, theirs in zip(seen.sent, seen.received, strict=True)
        if not is_bits(as_words(theirs))
    ]
    words = np.concatenate(additive)
    for shift in range(0, 64, 8):
        assert abs(chi_square(words, shift)) < SIGMAS


def test_the_uniformity_test_sees_a_mask_that_is_too_short():
    words = np.random.default_rng(0).integers(0, 1 << 60, size=100_000, dtype=np.uint64)
    assert abs(chi_square(words, 56)) > SIGMAS


def test_two_runs_of_the_same_query_share_no_mask():
    first, second = (run(lambda engine, x: engine.square(x), encode(np.ones(500))) for _ in "ab")
    masks = [set(r.views[0].tuples[0][1].free[0].tolist()) for r in (first, second)]
    assert not masks[0] & masks[1]

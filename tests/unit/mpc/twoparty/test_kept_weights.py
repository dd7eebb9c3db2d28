"""What is learned of weights stays within a bound, and those used last stay."""

import pytest
import torch

from parties.mpc.fixed_product import FixedProduct
from parties.mpc.twoparty.learned import KeptWeights, Known, Weights, memory
from privedge.errors import LimitExceeded

_KIND = FixedProduct("dense_back", "w", (1, 1, 1), (1, 1, 1))
_SIZE = memory(_KIND)


def _known(*models: bytes) -> Weights:
    share = torch.zeros(_KIND.masked, dtype=torch.int64)
    known = [Known(model.ljust(32), _KIND, share, 0, (model,)) for model in models]
    return {each.id: each for each in known}


def _models(kept: KeptWeights) -> set[bytes]:
    return {model for known in kept.weights().values() for model in known.models}


def test_what_was_not_used_for_the_longest_time_goes_first() -> None:
    kept = KeptWeights(2 * _SIZE)
    kept.keep(_known(b"a"), (b"a",))
    kept.keep(kept.weights() | _known(b"b"), (b"b",))
    kept.keep(kept.weights(), (b"a",))
    kept.keep(kept.weights() | _known(b"c"), (b"c",))
    assert _models(kept) == {b"a", b"c"}


def test_what_the_other_party_lacks_goes_too() -> None:
    kept = KeptWeights(2 * _SIZE)
    kept.keep(_known(b"a", b"b"), (b"a",))
    kept.keep(_known(b"b"), (b"b",))
    assert _models(kept) == {b"b"}


def test_weights_that_can_never_fit_are_refused_before_they_are_learned() -> None:
    kept = KeptWeights(2 * _SIZE)
    # Those of other models can go, its own cannot.
    kept.check_room((b"a", b"new"), _known(b"a", b"b"), _SIZE)
    with pytest.raises(LimitExceeded, match="hint_mib"):
        kept.check_room((b"a", b"new"), _known(b"a"), 2 * _SIZE)

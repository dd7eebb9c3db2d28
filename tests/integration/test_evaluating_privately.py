"""`evaluate identify --engine fused`: real servers give the answers of the plaintext model."""

import numpy as np
import pytest

from privedge_lab import datasets
from privedge_lab.demo import digits
from privedge_lab.evaluation import identify
from privedge_lab.evaluation.identify_parts import Choice
from privedge_lab.results.store import Results

pytestmark = pytest.mark.mpc


def test_private_answers_agree_with_the_clear_ones(tmp_path):
    given = digits.load(0).train_images
    file = tmp_path / "digits.npz"
    images = np.concatenate([given[digit][:15] for digit in range(3)])
    np.savez(file, images=images, labels=np.repeat(np.arange(3), 15))
    request = identify.Request(
        file, Choice(0), components=4, engine="fused", baselines=(), queries=5
    )
    data = datasets.read(file)
    (row,) = identify.measure(request, data, [0], Results("x", {}), lambda *_: None)
    assert row.asked == row.agreement.queries == 5
    assert row.agreement.fused_fixed_outside_ties == 1
    assert row.bytes_per_query > 0 and row.seconds_per_query > 0

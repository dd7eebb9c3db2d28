"""`evaluate scale` with real servers: the cost of a private query with two and three owners."""

import numpy as np
import pytest

from privedge_lab import datasets
from privedge_lab.demo import digits
from privedge_lab.evaluation import growth, scale
from privedge_lab.evaluation.identify_parts import Choice
from privedge_lab.results.store import Results

pytestmark = pytest.mark.mpc


def test_costs_of_two_cohorts_are_those_of_real_queries(tmp_path):
    given = digits.load(0).train_images
    file = tmp_path / "digits.npz"
    images = np.concatenate([given[digit][:15] for digit in range(3)])
    np.savez(file, images=images, labels=np.repeat(np.arange(3), 15))
    request = scale.Request(file, Choice(0), components=4, baselines=(), sizes=(2, 3), queries=2)
    measuring = scale.measure(request, datasets.read(file), [0], Results("x", {}), lambda *_: None)
    rows = list(measuring)
    small, large = (row.private for row in rows)
    for cost in (small, large):
        assert cost.agreement == 1 and cost.queries == 2
        assert 0 < cost.online_s <= cost.seconds_per_query
        assert cost.cpu_s >= cost.offline_cpu_s >= 0
        assert cost.rounds == 8
    # An image of 512 values goes to both parties, three bytes a value.
    assert 2 * 3 * 512 < small.bytes_per_query < large.bytes_per_query
    assert 0 < small.dealt_bytes < large.dealt_bytes
    assert growth.fitted(rows)["bytes_per_query"]["slope"] > 0

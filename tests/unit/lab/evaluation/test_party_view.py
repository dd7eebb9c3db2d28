"""One party's view is worth no more than guessing, and the bench finds a leak if there is one."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from privedge.errors import ImageError
from privedge.ran.public_files import PublicFiles
from privedge_lab import datasets
from privedge_lab.attacks import both_parties
from privedge_lab.evaluation.party_view import BOTH, SIGMAS, PartySettings, measure, sigmas
from privedge_lab.results.rows.party import PartyRow
from privedge_lab.results.store import Results
from tests import onnx_files

SMALL = PartySettings("subspace32", known=120, queries=50, attacks=("linear",))


@pytest.fixture(scope="module")
def digits() -> datasets.TrainTest:
    given = load_digits()
    images = np.rint(given.images * (255 / 16)).astype(np.uint8)
    return datasets.split(datasets.from_arrays(images, given.target), seed=0)


def measured(digits: datasets.TrainTest, settings: PartySettings) -> list[PartyRow]:
    results = Results("party", {})
    return list(measure(settings, digits.train, digits.test, results, lambda *_: None))


@pytest.mark.parametrize("randomness", ["dealer", "two-party"])
def test_no_linear_reading_of_one_party_beats_the_mean_image_and_both_parties_do(
    digits, randomness
):
    rows = measured(digits, replace(SMALL, randomness=randomness))
    assert {row.randomness for row in rows} == {None if randomness == "dealer" else randomness}
    alone = [row for row in rows if row.party in ("0", "1")]
    assert {row.party for row in alone} == {"0", "1"}
    assert len({(row.reading, row.encoding) for row in alone}) == 12
    assert max(row.sigmas for row in alone) < SIGMAS
    assert max(row.sigmas_paired for row in alone) < SIGMAS
    together = [row for row in rows if row.party == BOTH]
    assert min(row.sigmas for row in together) > SIGMAS
    assert min(row.psnr_db - row.mean_image_psnr_db for row in together) > 1


def test_the_bench_finds_a_share_that_hides_nothing(digits, monkeypatch):
    monkeypatch.setattr(both_parties, "split", lambda secret: (np.zeros_like(secret), secret))
    rows = measured(digits, SMALL)
    leaking = [row for row in rows if (row.party, row.reading) == ("1", "image share")]
    assert max(row.sigmas for row in leaking) > SIGMAS
    whole = [row for row in rows if (row.party, row.reading) == ("0", "image share")]
    assert max(row.sigmas for row in whole) < SIGMAS


def test_a_view_of_features_behind_an_encoder_is_worth_no_more(digits, tmp_path):
    encoder = onnx_files.convolutional(tmp_path / "encoder.onnx")
    settings = replace(SMALL, preset="subspace-encoder", files=PublicFiles.at(encoder=encoder))
    rows = measured(digits, settings)
    assert {row.party for row in rows} == {"0", "1", BOTH}
    assert max(row.sigmas for row in rows if row.party != BOTH) < SIGMAS


@pytest.mark.slow
def test_no_attack_on_one_party_beats_guessing(digits):
    settings = PartySettings("ran32", known=600, queries=300)
    rows = measured(digits, settings)
    alone = [row for row in rows if row.party in ("0", "1")]
    assert {row.attack for row in alone} == {"linear", "paper", "residual", "attribute"}
    assert max(row.sigmas for row in alone) < SIGMAS
    for attack in ("linear", "residual", "attribute"):
        together = [r.sigmas for r in rows if (r.party, r.attack) == (BOTH, attack)]
        assert max(together) > SIGMAS


def test_more_queries_than_images_are_refused(digits):
    with pytest.raises(ImageError, match="ask for fewer"):
        measured(digits, PartySettings("subspace32", known=100_000))


def test_sigmas_are_those_of_the_mean():
    gains = torch.tensor([1.0, 3.0] * 50)
    assert sigmas(gains) == pytest.approx(2 / (1.00504 / 10), rel=1e-3)
    assert sigmas(-gains) < 0
    assert sigmas(torch.ones(5)) == 0.0

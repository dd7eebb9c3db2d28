"""A whole deployment: dealer and both parties as processes, mutual TLS, ten owners' digits."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from privedge.identity.roles import Identity, Role
from privedge.local.deployment import CohortSetting, Deployment
from privedge.ran.presets import preset
from privedge.user.checkpoint import Ran
from privedge.user.fitting import fit_ran
from privedge.user.settings import settings_for
from privedge.user.upload import send
from privedge_lab.demo import digits

COHORT = "digits"
MARGIN = 0.8
# Without models at first.
MEAN = CohortSetting("mean", "subspace32", margin=0.6, components=16, mean_share=0.35)


@pytest.fixture(scope="session")
def some_digits() -> digits.Digits:
    return digits.load(seed=0)


@pytest.fixture(scope="session")
def rans(some_digits: digits.Digits) -> list[Ran]:
    """Ten closed-form RANs, one per digit."""
    spec = preset("subspace32", height=32, width=32, channels=1, components=16)
    return [
        fit_ran(some_digits.train_images[digit], spec, settings_for(spec), owner=f"digit-{digit}")
        for digit in range(10)
    ]


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory, rans: list[Ran]) -> Iterator[Deployment]:
    """Running, with all ten models active in COHORT."""
    with _running(tmp_path_factory, rans, {}) as running:
        yield running


@pytest.fixture(scope="module")
def live_deployment(
    tmp_path_factory: pytest.TempPathFactory, rans: list[Ran]
) -> Iterator[Deployment]:
    """The same with nothing prepared ahead, and workers of two threads."""
    with _running(tmp_path_factory, rans, {"pool": {"bundles": 0}, "threads": 2}) as running:
        yield running


@contextmanager
def _running(
    folders: pytest.TempPathFactory, rans: list[Ran], settings: dict[str, Any]
) -> Iterator[Deployment]:
    cohorts = [
        CohortSetting(COHORT, "subspace32", margin=MARGIN, components=16),
        MEAN,
        CohortSetting("empty", "subspace32"),
        CohortSetting("paper", "paper", channels=3),
    ]
    with Deployment(folders.mktemp("deployment"), cohorts, settings) as running:
        for ran in rans:
            send(ran, COHORT, running.client_config(Identity(Role.OWNER, ran.owner)))
        yield running


@pytest.fixture(scope="session")
def one_image(some_digits: digits.Digits) -> np.ndarray:
    return some_digits.test_images[:1]

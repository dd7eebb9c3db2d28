"""No mask hides two values and no bundle serves two runs, whichever process is killed and when.

A recorder between the workers sees every opening. A mask used twice for the same image would give
the same opening twice, so every client asks about the same image again and again.
"""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest

from privedge.errors import PrivEdgeError, TranscriptMismatch
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import CohortSetting, Deployment
from privedge.user.upload import send
from tests.integration.asking import (
    CLIENT,
    PARTIES,
    clear_distances,
    client,
    status,
    until_full,
)
from tests.integration.conftest import COHORT
from tests.integration.recorder import Recorder

pytestmark = pytest.mark.mpc

BUNDLES = 3
ANSWERS = 4
TRIES = 200


@dataclass
class Recorded:
    deployment: Deployment
    recorder: Recorder


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, rans) -> Iterator[Recorded]:
    cohorts = [CohortSetting(COHORT, "subspace32", components=16)]
    # One run a query, so that each takes a bundle of the one kind that is prepared.
    settings = {
        "pool": {"bundles": BUNDLES, "refill_below": BUNDLES, "settle_s": 0.2},
        "batching": {"max_images": 1},
    }
    deployment = Deployment(tmp_path_factory.mktemp("recorded"), cohorts, settings)
    with Recorder(deployment) as recorder, deployment:
        for ran in rans[:3]:
            send(ran, COHORT, deployment.client_config(Identity(Role.OWNER, ran.owner)))
        deployment.client_config(CLIENT)  # its certificate, before several threads want it
        yield Recorded(deployment, recorder)


def label(rans, image: np.ndarray) -> str:
    return f"digit-{clear_distances(rans[:3], image)[0].argmin()}"


def ask_until_answered(deployment: Deployment, image: np.ndarray, times: int) -> list[str | None]:
    """Retries what fails, as a client does whose party was killed."""
    answers: list[str | None] = []
    with client(deployment, rpc_timeout_s=20) as asking:
        for _ in range(TRIES):
            try:
                answers.append(asking.identify(image, COHORT).answers[0].owner)
            except PrivEdgeError:
                continue
            if len(answers) == times:
                return answers
    pytest.fail("not answered")


def once(step):
    """A hook that acts the first time only."""
    left = [step]

    def hook(*given):
        if left:
            left.pop()(*given)

    return hook


def kill_worker(deployment: Deployment, party: Role) -> None:
    os.kill(status(deployment, party).worker_pids[0], signal.SIGKILL)


def test_nothing_is_opened_under_the_same_masks_twice(recorded, rans, one_image):
    deployment, recorder = recorded.deployment, recorded.recorder
    expected = label(rans, one_image)
    moments = [
        # Between queries; when party 0 has taken a bundle; when something masked has left it; when
        # something masked has left party 1.
        lambda kill: kill(),
        lambda kill: recorder.on_hello.__setitem__(0, once(lambda _: kill())),
        lambda kill: recorder.on_words.__setitem__(0, once(kill)),
        lambda kill: recorder.on_words.__setitem__(1, once(kill)),
    ]
    for when, victim in product(moments, PARTIES):
        until_full(deployment, BUNDLES)
        killed: list[Role] = []

        def kill(victim: Role = victim, killed: list[Role] = killed) -> None:
            kill_worker(deployment, victim)
            killed.append(victim)

        when(kill)
        with ThreadPoolExecutor(2) as threads:
            clients = [
                threads.submit(ask_until_answered, deployment, one_image, ANSWERS) for _ in range(2)
            ]
        assert [each.result() for each in clients] == [[expected] * ANSWERS] * 2
        assert killed == [victim]
    until_full(deployment, BUNDLES)
    assert ask_until_answered(deployment, one_image, BUNDLES) == [expected] * BUNDLES
    assert len(recorder.bundles) >= len(moments) * 2
    assert len(set(recorder.bundles)) == len(recorder.bundles)
    assert len(recorder.openings) > 2 * len(recorder.bundles)
    assert len(set(recorder.openings)) == len(recorder.openings)


def test_halves_of_two_bundles_end_as_aborted_and_never_in_a_label(recorded, rans, one_image):
    """What TLS and honest parties exclude: party 1 is led to another bundle than party 0's."""
    deployment, recorder = recorded.deployment, recorded.recorder
    until_full(deployment, BUNDLES)
    # Party 0 takes the oldest one; this is the newest, which both have.
    other, own = recorder.ordered[-1], []

    def swap(hello):
        own.append(hello.bundle)
        hello.bundle = other

    def swap_back(hello):
        assert hello.bundle == other
        hello.bundle = own[0]

    recorder.on_hello[:] = [once(swap), once(swap_back)]
    with client(deployment) as asking, pytest.raises(TranscriptMismatch):
        asking.identify(one_image, COHORT)
    assert own[0] and own[0] != other
    assert ask_until_answered(deployment, one_image, 1) == [label(rans, one_image)]


@pytest.mark.parametrize(("party", "skips_at"), [(0, 3), (1, 0)], ids=["on its way", "at once"])
def test_a_skipped_counter_at_one_party_ends_as_aborted_and_never_in_a_label(
    recorded, rans, one_image, party, skips_at
):
    deployment, recorder = recorded.deployment, recorded.recorder
    until_full(deployment, BUNDLES)
    before = recorder.skipped
    recorder.skips_at[party] = skips_at
    with client(deployment) as asking, pytest.raises(TranscriptMismatch):
        asking.identify(one_image, COHORT)
    recorder.skips_at[party] = None
    assert recorder.skipped > before
    assert ask_until_answered(deployment, one_image, 1) == [label(rans, one_image)]

"""W-36, W-39, W-40: what one owner uploads is checked on shares before anybody's query asks it."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from privedge.client.query import Client
from privedge.errors import ModelRefused, Unreachable
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import ADMIN, CohortSetting, Deployment
from privedge.ran import probes
from privedge.ran.model_bounds import Band
from privedge.ran.presets import preset
from privedge.ran.probes import Probes
from privedge.user import upload
from privedge.user.asking import errors_of
from privedge.user.checkpoint import Ran
from privedge.user.fitting import fit_ran
from privedge.user.models import Release, listed, release
from privedge.user.settings import settings_for
from tests.integration.asking import PARTIES

pytestmark = pytest.mark.mpc

CHECKED, SIZE, MARGIN = "checked", 24, 0.7
SPEC = preset("vector", size=SIZE, unit_length=True, components=3)
OWNERS = ("ana", "ben", "cleo")


def person(number: int, count: int = 12, spread: float = 0.25) -> np.ndarray:
    """Vectors of one "person": around a direction of its own."""
    rng = np.random.default_rng([number, count])
    rows = _units(1, number)[0] + spread / np.sqrt(SIZE) * rng.normal(size=(count, SIZE))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _units(count: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, SIZE))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


STRANGERS = _units(12, 99)


def model(number: int, owner: str) -> Ran:
    return fit_ran(person(number), SPEC, settings_for(SPEC), owner)


@pytest.fixture(scope="module")
def public() -> Probes:
    rows = _units(40, 1000).astype(np.float32)
    usual = np.median([errors_of(model(n, "p"), rows).mean() for n in range(50, 60)])
    return Probes.of(rows, Band(0.8 * usual, 1.25 * usual), SPEC)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory, public) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("model-check")
    probes.write(folder / "probes.npz", public, SPEC)
    cohort = CohortSetting(
        CHECKED,
        "vector",
        size=SIZE,
        unit_length=True,
        components=3,
        margin=MARGIN,
        model_check={"probes": str(folder / "probes.npz")},
    )
    with Deployment(folder, [cohort]) as running:
        for number, owner in enumerate(OWNERS):
            send(running, model(number, owner))
        yield running


def send(deployment: Deployment, ran: Ran) -> upload.Receipt:
    config = deployment.client_config(Identity(Role.OWNER, ran.owner))
    return upload.send(ran, CHECKED, config)


def states(deployment: Deployment, owner: str) -> list[str]:
    """Of an owner's models, newest first, at both parties."""
    config = deployment.client_config(Identity(Role.OWNER, owner))
    return [row.state for party in PARTIES for row in listed(config, CHECKED, party)]


def answers(deployment: Deployment) -> list[str | None]:
    """Of two vectors of each owner that no model has seen, and of strangers."""
    rows = np.concatenate([person(number, 2) for number in range(3)] + [STRANGERS])
    config = deployment.client_config(Identity(Role.CLIENT, "cli"))
    with Client(config) as client:
        return [answer.owner for answer in client.identify(rows, CHECKED).answers]


@pytest.fixture(scope="module")
def honest(deployment) -> list[str | None]:
    """What everybody is answered before anybody tries anything."""
    before = answers(deployment)
    assert before[:6] == [name for name in OWNERS for _ in range(2)]
    assert before[6:].count(None) >= len(STRANGERS) / 2
    return before


def _far(ran: Ran) -> Ran:
    basis = np.zeros_like(ran.parameters["0.basis"])
    mean = np.full_like(ran.parameters["0.mean"], 7.9)
    return replace(ran, parameters={**ran.parameters, "0.basis": basis, "0.mean": mean})


def _pooled(ran: Ran) -> Ran:
    everybody = np.concatenate([_units(40, 1000), *(person(number) for number in range(3))])
    return fit_ran(everybody, SPEC, settings_for(SPEC), ran.owner)


def _zero(ran: Ran) -> Ran:
    nothing = {name: np.zeros_like(value) for name, value in ran.parameters.items()}
    return replace(ran, parameters={**nothing, "threshold": ran.parameters["threshold"]})


@pytest.mark.parametrize(
    ("owner", "change"),
    [("far", _far), ("pooled", _pooled), ("zero", _zero)],
    ids=["far", "pooled", "zero"],
)
def test_a_far_model_and_thieves_are_refused_and_change_no_answer(
    deployment, honest, owner, change
):
    with pytest.raises(ModelRefused, match="the check of new models refused this model"):
        send(deployment, change(model(0, owner)))
    assert states(deployment, owner) == ["refused"] * 2
    assert answers(deployment) == honest


def test_no_model_takes_honest_queries_away(deployment, honest, monkeypatch):
    """Words out of every range, which no client of ours would send."""
    rng = np.random.default_rng(7)

    def raw(ran: Ran, name: str) -> np.ndarray:
        return rng.integers(0, 1 << 64, ran.parameters[name].shape, dtype=np.uint64)

    monkeypatch.setattr(upload, "_encoded", raw)
    with pytest.raises(ModelRefused):
        send(deployment, model(0, "mallory"))
    monkeypatch.undo()
    assert states(deployment, "mallory") == ["refused"] * 2
    assert answers(deployment) == honest


def test_operators_release_a_refused_model_together(deployment):
    ran = _pooled(model(0, "dora"))
    with pytest.raises(ModelRefused):
        send(deployment, ran)
    (row, _) = [
        row
        for party in PARTIES
        for row in listed(deployment.client_config(ADMIN), CHECKED, party)
        if row.owner == "dora"
    ]
    assert row.state == "refused"
    # The certificate of this admin is good at both parties.
    assert release(row.model_id, deployment.client_config(ADMIN)) == Release(active=True, away="")
    assert states(deployment, "dora") == ["active"] * 2


@pytest.mark.slow
def test_a_release_at_one_party_is_kept_while_the_other_one_is_away(deployment):
    ran = _pooled(model(1, "erin"))
    with pytest.raises(ModelRefused):
        send(deployment, ran)
    config = deployment.client_config(ADMIN, retries=1)
    (model_id,) = {
        row.model_id for row in listed(config, CHECKED, PARTIES[0]) if row.owner == "erin"
    }
    stop(deployment, PARTIES[1])
    done = release(model_id, config)
    assert not done.active and done.away.startswith("party 1 (")
    stop(deployment, PARTIES[0])
    with pytest.raises(Unreachable, match=f"^{model_id}: not released; the party of your own"):
        release(model_id, config)
    for party in PARTIES[::-1]:
        deployment.start(party)
    for party in PARTIES:
        deployment.wait_ready(party)
    assert states(deployment, "erin") == ["refused"] * 2
    assert release(model_id, deployment.client_config(ADMIN)) == Release(active=True, away="")


def stop(deployment: Deployment, party: Role) -> None:
    deployment.processes[party].terminate()
    deployment.processes[party].wait()
